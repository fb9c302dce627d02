// What the walks through the pages of moves arrange around themselves.
import assert from 'node:assert/strict'
import { full as far, url, visit } from '../web/browser.mjs'

export const door = process.env.PEERS_DOOR_URL // another way to the far server, at which requests can be spoiled
export const longFar = process.env.PEERS_LONG_FAR // a domain with which handles are as long as they may be
export const longHere = process.env.PEERS_LONG_HERE
export const password = 'mover-password'

// stage gives an order to the program that has started the servers (stage_test.go).
export async function stage(order) {
  const response = await fetch(process.env.PEERS_STAGE, { method: 'POST', body: JSON.stringify(order) })
  assert.equal(response.status, 200, await response.clone().text())
  return response.json()
}

const admin = 'Basic ' + Buffer.from('admin:admin').toString('base64')

// call calls a server: a method, or what is the operator's.
export async function call(origin, path, body, authorization = admin) {
  const headers = { authorization, 'content-type': 'application/json' }
  const response = await fetch(origin + (path.startsWith('/') ? path : '/xrpc/' + path), { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await response.text()
  assert.equal(response.status, 200, `${path}: ${text}`)
  return text && JSON.parse(text)
}

const invites = {}

// invite is a code for a server.
export const invite = async (origin = url) =>
  (await (invites[origin] ??= call(origin, 'com.atproto.server.createInviteCode', { useCount: 100 }))).code

const tag = process.pid.toString(36) // so that each walk has people of its own

// join makes an account with a few posts and pictures, at the far server or here.
export async function join(person, { origin = far, domain = origin === far ? '.far.pub' : '.test', pictures = 0 } = {}) {
  const name = person + tag, email = name + '@example.com'
  const made = await call(origin, 'com.atproto.server.createAccount', { handle: name + domain, email, password, inviteCode: await invite(origin) }, '')
  const auth = 'Bearer ' + made.accessJwt
  for (let i = 0; i < 2 + pictures; i++) {
    const record = { $type: 'app.bsky.feed.post', text: `post ${i}`, createdAt: new Date().toISOString() }
    if (i < pictures) record.embed = { $type: 'app.bsky.embed.images', images: [{ alt: '', image: await upload(origin, auth, i) }] }
    await call(origin, 'com.atproto.repo.createRecord', { repo: made.did, collection: record.$type, record }, auth)
  }
  return { name, email, did: made.did, handle: made.handle, auth }
}

async function upload(origin, authorization, i) {
  const body = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR', 'latin1'), Buffer.alloc(2000 + i * 1000, i)])
  const response = await fetch(origin + '/xrpc/com.atproto.repo.uploadBlob', { method: 'POST', headers: { authorization, 'content-type': 'image/png' }, body })
  assert.equal(response.status, 200)
  return (await response.json()).blob
}

// mailed waits for the newest code in somebody's mailbox.
export async function mailed(email) {
  for (let i = 0; i < 600; i++) {
    const response = await fetch(`${process.env.PEERS_MAILBOX}/${email}`)
    const code = response.ok && (await response.text()).match(/[A-Z2-7]{5}-[A-Z2-7]{5}/)?.[0]
    if (code) return code
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.fail('no code was mailed to ' + email)
}

// walk has somebody walk through the pages. A failure tells what the last one says.
export async function walk(browser, size, act, options) {
  const v = await visit(browser, size, options)
  try {
    await act(v, v.page)
  } catch (error) {
    const says = await v.page.evaluate(() => document.body.innerText).catch(String)
    throw new Error(`${error.message}\nThe page is ${v.page.url()} and says:\n${says}`, { cause: error })
  } finally {
    await v.context.close()
  }
}

// refused presses a button, and wants that to be refused with a text.
export async function refused(page, button, text) {
  await page.click(button)
  await page.waitForSelector(`[role=alert]:has-text("${text}")`)
}

// lax has the browser send forms that it would not, as other programs do.
export const lax = (page) => page.evaluate(() => document.querySelectorAll('form').forEach((form) => { form.noValidate = true }))

// begin leads to the page at which one signs in at an account's old server, with an invite code.
export async function begin(page, did) {
  await page.goto(`${url}/move/from?account=${did}`)
  await page.fill('#invite', await invite())
  await page.click('button:has-text("Continue")')
}

// enter signs in at the old server with its password and comes to the page for the account here.
export async function enter(page, did) {
  await begin(page, did)
  await openPassword(page)
  await page.fill('#password', password)
  await page.click('form[action^="/move/sign-in"] button[type=submit]')
}

// openPassword opens the form for the password, which is folded up where one can sign in at the old server.
export async function openPassword(page) {
  if (await page.$('details.card:not([open]) #password')) await page.click('details.card summary')
}

// settle has an account copied here.
export async function settle(page, handle) {
  if (await page.$('#keep-no')) await page.click('#keep-no')
  await page.fill('#handle', handle)
  await page.fill('#password', 'here-password')
  await page.click('button:has-text("Begin to copy")')
}

// leave fills in what the far server wants to know of somebody who comes from here.
export async function leave(page, name) {
  await page.fill('#handle', name)
  await page.fill('#invite', await invite(far))
  await page.fill('#password', 'there-password')
  await page.click('button:has-text("Begin to copy")')
}
