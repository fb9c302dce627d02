// A server in which everything is as long and as much as it can be.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask } from './app.mjs'
import { audit, full, launch, sizes, totp, visit } from './browser.mjs'

const password = 'correct horse'
const domain = process.env.PEERS_FULL_DOMAIN
const word = 'Donaudampfschifffahrtsgesellschaftskapitänswitwenrentenauszahlungsstelle'
const people = 24

// call calls a method, without being counted against the limits.
async function call(path, body, authorization = 'Basic ' + Buffer.from('admin:admin').toString('base64')) {
  const headers = { 'x-ratelimit-bypass': 'sesame', authorization, ...(body && { 'content-type': 'application/json' }) }
  const response = await fetch(full + path, { method: 'POST', headers, body: body && JSON.stringify(body) })
  const text = await response.text()
  assert.equal(response.status, 200, path + text)
  return text && JSON.parse(text)
}
const xrpc = (method, body, token) => call('/xrpc/' + method, body, token && 'Bearer ' + token)

let browser
const members = []
before(async () => {
  browser = await launch()
  for (let i = 0; i < people; i++) {
    const handle = `a-very-long-name${i}`.padEnd(18, 'x').slice(0, 18) + domain
    const made = await xrpc('com.atproto.server.createAccount', { handle, email: `${handle.slice(0, 60)}@${'example.'.repeat(20)}com`, password })
    members.push({ handle, ...made })
    const record = { $type: 'app.bsky.actor.profile', displayName: i % 2 ? word.slice(0, 64) : `${i} 🦜 いろはにほへと`, description: word.repeat(3) }
    await xrpc('com.atproto.repo.putRecord', { repo: made.did, collection: 'app.bsky.actor.profile', rkey: 'self', record }, made.accessJwt)
  }
  const [first] = members
  for (let i = 0; i < 12; i++) await xrpc('com.atproto.server.createAppPassword', { name: (i + word).slice(0, 60), privileged: i % 2 === 0 }, first.accessJwt)
  for (let i = 0; i < 8; i++) await xrpc('com.atproto.server.createSession', { identifier: first.did, password })
  for (const m of members.slice(1)) {
    await xrpc('com.atproto.server.requestEmailConfirmation', undefined, m.accessJwt)
    await xrpc('com.atproto.server.createInviteCode', { useCount: 3, forAccount: m.did })
  }
  for (const m of members.slice(-6)) {
    const subject = { $type: 'com.atproto.admin.defs#repoRef', did: m.did }
    await xrpc('com.atproto.admin.updateSubjectStatus', { subject, takedown: { applied: true, ref: word.repeat(2) } })
  }
})
after(() => browser?.close())

async function signIn(page, { handle }) {
  await page.goto(full + '/account/sign-in')
  await page.fill('#identifier', handle)
  await page.fill('#password', password)
  await page.keyboard.press('Enter')
  await page.waitForURL('**/account')
}

for (const [n, size] of Object.keys(sizes).entries()) {
  test(`long names and many rows on a ${size}`, async (t) => {
    const v = await visit(browser, size)
    const { page } = v
    const see = async (path) => {
      await page.goto(full + path)
      await audit(v, 'full' + path.replaceAll('/', '-'))
    }
    await see('/')
    await see('/account/sign-up')
    await signIn(page, members[n + 1])
    await signIn(page, members[0])
    for (const path of ['', '/handle', '/email', '/security', '/app-passwords', '/devices', '/switch', '/close', '/move']) await see('/account' + path)
    await page.goto(await ask({}, 'atproto transition:generic', full))
    await audit(v, 'full-consent')
    await page.goto(await ask({ prompt: 'select_account' }, 'atproto', full))
    await audit(v, 'full-authorize-account')

    const [{ did: account }] = members
    const { secret } = await call('/perch/factor', { account, action: 'begin' })
    t.after(() => call('/perch/factor', { account, action: 'remove' }))
    const { recoveryCodes } = await call('/perch/factor', { account, action: 'confirm', code: totp(secret) })
    await call('/perch/role', { account, role: true })
    await page.goto(full + '/admin')
    await page.fill('#code', recoveryCodes[0])
    await page.keyboard.press('Enter')
    await page.waitForSelector('figure svg')
    for (const path of ['', '/accounts', '/accounts/' + members.at(-1).did, '/invites', '/mail', '/jobs', '/audit']) await see('/admin' + path)
    await v.context.close()
  })

  test(`too often on a ${size}`, async () => {
    const v = await visit(browser, size)
    const { page } = v
    await page.goto(full + '/account/reset')
    const left = () => page.evaluate(async () => {
      const form = document.querySelector('main form')
      return (await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) })).status !== 429
    })
    for (let i = 0; i < 60 && await left(); i++);
    await page.fill('#email', 'nobody@example.com')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-page=problem]')
    await audit(v, 'problem-limit')
    await v.context.close()
  })
}
