// People in front of browsers, and what they do on the server's pages.
import assert from 'node:assert/strict'
import { adminPost, launch, patience, url as pds } from '../web/browser.mjs'

export { adminPost, pds }
export const domain = '.' + new URL(pds).hostname
export const password = 'correct horse'

let browser
export const openBrowser = async () => (browser = await launch())
export const closeBrowser = () => browser?.close()

export const invite = async () => (await adminPost('com.atproto.server.createInviteCode', { useCount: 1 })).code

// call calls a method with JSON, as a session that is no app's if it has a token.
export async function call(method, body, token) {
  const headers = { ...(body && { 'content-type': 'application/json' }), ...(token && { authorization: 'Bearer ' + token }) }
  const response = await fetch(`${pds}/xrpc/${method}`, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) })
  const text = await response.text()
  assert.equal(response.status, 200, `${method}: ${text}`)
  return text && JSON.parse(text)
}

// member is the account of that name, made when it is first asked for.
const members = new Map()
export function member(name) {
  if (!members.has(name)) members.set(name, join(name))
  return members.get(name)
}

async function join(name) {
  const account = await call('com.atproto.server.createAccount', {
    handle: name + domain, email: name + '@example.com', password, inviteCode: await invite(),
  })
  return { ...account, name }
}

// profile is a browser of its own, for one test or for as long as all take. No page may fail, and the browser may complain about nothing.
export async function profile(t) {
  const context = await browser.newContext({ locale: 'en-US', ignoreHTTPSErrors: true }) // the CA is made for the run
  const failures = []
  context.on('response', (r) => r.status() >= 500 && failures.push(`${r.status()} ${r.url()}`))
  context.on('console', (m) => m.type() === 'error' && !/status of 4\d\d/.test(m.text()) && failures.push(m.text()))
  context.setDefaultTimeout(patience)
  t?.after(async () => {
    await context.close()
    assert.deepEqual(failures, [])
  })
  return { context, page: await context.newPage() }
}

const submit = 'button.button[type=submit]'

// shows waits for what a page must have, and tells what it has instead.
async function shows(page, selector) {
  try {
    await page.waitForSelector(selector)
  } catch (error) {
    throw new Error(`${selector} is missing; ${page.url()} shows:\n${await page.innerText('body')}`, { cause: error })
  }
}

// signIn fills in the form that is shown.
export async function signIn(page, handle, secret = password) {
  await shows(page, '#identifier')
  if (handle) await page.fill('#identifier', handle)
  await page.fill('#password', secret)
  await page.click(submit)
}

// allow says yes, to all but what is to be unticked.
export async function allow(page, { untick = [] } = {}) {
  await shows(page, 'text="Allow"')
  for (const scope of untick) await page.uncheck(`input[name=scope][value="${scope}"]`)
  await page.click('text="Allow"')
}

export const deny = (page) => page.click('button[name=decision][value=deny]')
