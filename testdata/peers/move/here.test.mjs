// What else may happen to somebody who moves here: refusals, second factors, a server that is slow, a directory that says no, a did:web.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { audit, full as far, launch, speaks, totp, url } from '../web/browser.mjs'
import { begin, call, enter, invite, join, longFar, longHere, mailed, openPassword, password, refused, settle, stage, walk } from './stage.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser?.close())

const signIn = 'form[action^="/move/sign-in"] button[type=submit]'
const phone = (name, act) => test(name, { concurrency: true }, () => walk(browser, 'phone', act))
const desktop = (name, act) => test(name, { concurrency: true }, () => walk(browser, 'desktop', act))

desktop('an account that cannot come', async (v, page) => {
  const [nowhere, silent, resident] = await Promise.all([join('nowhere'), join('silent'), join('resident', { origin: url })])
  await stage({ do: 'name', did: nowhere.did, pds: 'none' })
  await stage({ do: 'name', did: silent.did, pds: 'http://localhost:1' })
  await page.goto(url + '/move')
  const look = 'button:has-text("Continue")'
  for (const [account, text] of [
    ['nobody.test', 'We cannot find this account'], [new URL(url).host, 'This is the address of this server'], [resident.did, 'lives here already'],
    [nowhere.did, 'names no server'], [silent.did, 'does not answer as it should'],
  ]) {
    await page.fill('#account', account)
    await refused(page, look, text)
    await speaks(v, 'move-refused-' + text.split(' ').slice(0, 3).join('-'))
  }
  for (const how of ['done', 'late', 'denied', 'silent']) {
    await page.goto(`${url}/move/came-back?how=${how}`)
    v.complaints.length = 0 // of the status 502
    await speaks(v, 'move-came-back-' + how)
  }
})

phone('a second factor, and a handle of full length', async (v, page) => {
  const { did, name } = await join('factor', { pictures: 1, domain: longFar })
  const { secret } = await call(far, '/perch/factor', { account: did, action: 'begin' })
  const { recoveryCodes } = await call(far, '/perch/factor', { account: did, action: 'confirm', code: totp(secret) })
  await begin(page, did)
  await page.waitForSelector('details #password', { state: 'attached' })
  await audit(v, 'move-from-long')
  await openPassword(page)
  await page.fill('#password', password)
  await page.click(signIn)
  await page.waitForSelector('#code')
  await audit(v, 'move-factor')
  await page.fill('#password', password)
  await page.fill('#code', '000000')
  await page.click(signIn)
  await page.waitForSelector('#code-error')
  await speaks(v, 'move-factor-wrong')
  await page.fill('#password', password)
  await page.fill('#code', recoveryCodes[0])
  await page.click(signIn)
  await page.waitForURL('**/move/account')
  await speaks(v, 'move-account-ends')
  const handle = 'a'.repeat(60) + '.' + 'b'.repeat(63) + '.' + 'c'.repeat(63) + '.' + 'd'.repeat(60) + '.pub' // as long as a DID may name one
  await stage({ do: 'name', did, handle }) // one that may be kept
  await page.reload()
  await audit(v, 'move-account-long')
  await page.fill('#password', 'here-password')
  await refused(page, 'button:has-text("Begin to copy")', 'Your handle cannot be kept')
  await speaks(v, 'move-account-long-refused')
  await page.selectOption('#domain', longHere)
  await settle(page, name.padEnd(18, 'a'))
  await page.waitForSelector('#code')
  await audit(v, 'move-code-long')
  await page.click('a:has-text("Give the move up")')
  await speaks(v, 'move-abandon-long')
  await page.click('button:has-text("Give it up")')
  await page.waitForSelector('text=That move has ended')
  await speaks(v, 'move-gone')
})

phone('an old server that is slow, and a directory that says no', async (v, page) => {
  const { did, name, email } = await join('slow', { pictures: 6 })
  await stage({ do: 'name', did, pds: 'door' })
  const getRepo = { door: 'far', method: 'com.atproto.sync.getRepo', did }
  const getBlob = { door: 'far', method: 'com.atproto.sync.getBlob', did }
  await stage({ do: 'spoil', ...getRepo })
  await stage({ do: 'spoil', ...getBlob, after: 3 })
  await enter(page, did)
  await settle(page, name)
  await page.waitForSelector('.line:has-text("Copying posts:")')
  await audit(v, 'move-progress')
  await page.goto(url + '/move')
  await speaks(v, 'move-going')
  await page.click('a:has-text("Show how far it is")')
  await stage({ do: 'mend', ...getRepo })
  await page.waitForSelector('.line:has-text("of 6")')
  await stage({ do: 'mend', ...getBlob })
  await page.waitForSelector('#code')
  await page.click('button:has-text("Send the code again")')
  await page.waitForSelector('text=A new code is on its way')
  await speaks(v, 'move-resent')

  const submit = { door: 'plc', method: 'POST', path: '/' + did }
  await stage({ do: 'spoil', ...submit, status: 400, body: '{"message":"no"}' })
  await page.fill('#code', await mailed(email))
  await page.click('button:has-text("Move the account here")')
  await page.waitForSelector('text=could not be used any more')
  await speaks(v, 'move-code-stale')
  await stage({ do: 'mend', ...submit })
  await page.click('button:has-text("Send the code again")')
  await page.waitForSelector('text=A new code is on its way')
  await page.fill('#code', await mailed(email))
  await page.click('button:has-text("Move the account here")')
  await page.waitForSelector('h1:has-text("Your account has moved")')
})

desktop('a sign-in at the old server that comes to nothing', async (v, page) => {
  const { did } = await join('denied')
  await begin(page, did)
  await page.click('button:has-text("Sign in at your old server")')
  await page.waitForURL(far + '/**')
  // On servers for development the way back leads by 127.0.0.1, where no form of the far server's may lead (CSP).
  const form = await page.$eval('form:has(button[value=deny])', (f) => Object.fromEntries(new FormData(f)))
  const answer = await page.request.post(far + '/oauth/authorize', { form: { ...form, decision: 'deny' }, headers: { origin: far }, maxRedirects: 0 })
  await page.goto(answer.headers().location)
  await page.waitForSelector('text=was cancelled or refused')
  await speaks(v, 'move-denied')
  await page.goto(url + '/move/signed-in?code=c&iss=i&state=x.pages')
  await page.waitForSelector('text=expired or was used already')
  await speaks(v, 'move-late')
  await begin(page, did)
  await stage({ do: 'name', did, pds: 'door' }) // where nobody can sign in in a browser
  await refused(page, 'button:has-text("Sign in at your old server")', 'offers no sign-in by browser')
  await speaks(v, 'move-no-browser')
})

desktop('an old server that refuses', async (v, page) => {
  const { did, name } = await join('refused')
  await stage({ do: 'name', did, pds: 'door' })
  const spoil = (method, status, body, about = did) => stage({ do: 'spoil', door: 'far', method, status, body: JSON.stringify(body), did: about })
  const mend = (method, about = did) => stage({ do: 'mend', door: 'far', method, did: about })
  await enter(page, did)
  await spoil('com.atproto.server.getSession', 200, { did, handle: 'refused.far.pub' })
  await page.fill('#handle', name)
  await page.fill('#password', 'here-password')
  await refused(page, 'button:has-text("Begin to copy")', 'does not tell us yours')
  await speaks(v, 'move-no-email')
  await mend('com.atproto.server.getSession')
  await spoil('com.atproto.server.getServiceAuth', 400, { error: 'AccountTakedown', message: 'The account was taken down' })
  await page.fill('#password', 'here-password')
  await refused(page, 'button:has-text("Begin to copy")', 'The other server refuses: AccountTakedown')
  await speaks(v, 'move-refused-there')
  await mend('com.atproto.server.getServiceAuth')
  const over = { error: 'ExpiredToken', message: 'over' }
  await spoil('com.atproto.server.getSession', 400, over)
  await spoil('com.atproto.server.refreshSession', 400, over)
  await page.fill('#password', 'here-password')
  await page.click('button:has-text("Begin to copy")')
  await page.waitForSelector('text=Your old server has ended our session')
  await speaks(v, 'move-session-over')
  await mend('com.atproto.server.getSession')
  await mend('com.atproto.server.refreshSession')

  await spoil('com.atproto.server.createSession', 429, { error: 'RateLimitExceeded', message: 'slow' }, '') // a request without an account's token
  await begin(page, did)
  await page.fill('#password', password)
  await refused(page, signIn, 'asks for patience')
  await speaks(v, 'move-busy')
  await mend('com.atproto.server.createSession', '')
  await page.goto(url + '/move/abandon')
  await page.click('button:has-text("Give it up")')
  await page.waitForSelector('text=That move has ended')
})

desktop('a did:web', async (v, page) => {
  const { did, token } = await stage({ do: 'web' })
  const name = 'web' + did.split('%3A')[1]
  const body = { did, handle: name + '.far.pub', email: name + '@example.com', password, inviteCode: await invite(far) }
  const made = await call(far, 'com.atproto.server.createAccount', body, 'Bearer ' + token)
  const auth = 'Bearer ' + made.accessJwt
  const response = await fetch(far + '/xrpc/com.atproto.identity.getRecommendedDidCredentials', { headers: { authorization: auth } })
  const { verificationMethods } = await response.json()
  await stage({ do: 'name', did, handle: body.handle, key: verificationMethods.atproto.replace('did:key:', ''), pds: far })
  await call(far, 'com.atproto.server.activateAccount', undefined, auth)
  await enter(page, encodeURIComponent(did))
  await page.waitForURL('**/move/account')
  await settle(page, name)
  await page.waitForSelector('h1:has-text("Change your DID document")')
  await audit(v, 'move-document')
  await page.click('button:has-text("look now")')
  await page.waitForSelector('h1:has-text("Change your DID document")')
  const wanted = JSON.parse(await page.textContent('pre code'))
  assert.equal(wanted.id, did)
  const [{ publicKeyMultibase }] = wanted.verificationMethod, [{ serviceEndpoint }] = wanted.service
  await stage({ do: 'name', did, handle: name + '.test', key: publicKeyMultibase, pds: serviceEndpoint })
  await page.click('button:has-text("look now")')
  await page.waitForSelector('h1:has-text("Your account has moved")')
  assert.match(await page.textContent('main'), /did:web:localhost/)
})
