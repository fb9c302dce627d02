// What the server asks the person, and when it asks nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, nodeApp } from './nodeapp.mjs'
import { letIn } from './node.mjs'
import { allow, call, domain, invite, member, password, pds, profile, signIn } from './people.mjs'

const post = 'net.perch-club.post'
const alice = 'alice' + domain
const bob = 'bob' + domain

const account = (handle) => member(handle.split('.')[0])
const back = (app, page) => page.waitForURL(app.redirect + '**')
// told is the error that the app got.
const told = async (app) => {
  try {
    await app.finish()
  } catch (error) {
    return error.params?.get('error')
  }
}
// silently asks for what may not be asked, and returns the session or the error.
const silently = async (app, page, who) => {
  await page.goto(await app.start(who, { prompt: 'none' }))
  await back(app, page)
}

test('pages: silent consent', async (t) => {
  const { page } = await profile(t)
  const who = await account(alice)
  const proven = await nodeApp('confidential')
  await silently(proven, page, alice)
  assert.equal(await told(proven), 'login_required')
  await letIn(proven, page, who)

  // An app that has proved itself is let in again without a question, until it wants more, or to be asked.
  await page.goto(await proven.start(alice))
  await back(proven, page)
  assert.equal((await create(await proven.finish(), post)).status, 200)
  await silently(proven, page, alice)
  assert.equal((await proven.finish()).sub, who.did)
  await page.goto(await proven.start(alice, { prompt: 'consent' }))
  await allow(page)
  await back(proven, page)
  assert.equal((await proven.finish()).sub, who.did)
  await account(bob)
  await silently(proven, page, bob) // somebody who is not signed in here
  assert.equal(await told(proven), 'login_required')

  // Anybody may call himself what an app without a key is called.
  const open = await nodeApp('public')
  await letIn(open, page, who, { fresh: false })
  await silently(open, page, alice)
  assert.equal(await told(open), 'consent_required')
  await page.goto(await open.start(alice))
  await allow(page)
  await back(open, page)

  // The operator's own app never asks, and shows its name.
  const trusted = await nodeApp('trusted')
  await silently(trusted, page, alice)
  assert.equal((await create(await trusted.finish(), post)).status, 200)
  const other = await account(bob)
  await page.goto(await trusted.start(bob))
  await page.waitForSelector('text=Trusted App')
  await signIn(page)
  await back(trusted, page)
  assert.equal((await trusted.finish()).sub, other.did)
})

test('pages: hints, and the password again', async (t) => {
  const { page } = await profile(t)
  const app = await nodeApp('public')
  const who = await account(alice)
  await account(bob)
  await page.goto(await app.start(alice))
  await page.waitForSelector('#identifier')
  assert.equal(await page.inputValue('#identifier'), alice)
  await signIn(page, bob) // somebody else than the app has asked for
  await page.waitForSelector('#identifier')
  await signIn(page, alice)
  await allow(page)
  await back(app, page)
  assert.equal((await app.finish()).sub, who.did)

  await page.goto(await app.start(alice, { prompt: 'login' }))
  await signIn(page, alice, 'not ' + password)
  await page.waitForSelector('[role=alert]')
  await signIn(page, alice)
  await allow(page)
  await back(app, page)
  assert.equal((await app.finish()).sub, who.did)
})

test('pages: another account', async (t) => {
  const { page } = await profile(t)
  const app = await nodeApp('public')
  const [first, second] = await Promise.all([alice, bob].map(account))
  await letIn(app, page, first)
  await page.goto(await app.start(pds)) // an app that only knows the server
  await page.waitForSelector('text="Allow"')
  await page.click('.identity a')
  await signIn(page, bob)
  await allow(page)
  await back(app, page)
  assert.equal((await app.finish()).sub, second.did)

  await page.goto(await app.start(pds, { prompt: 'select_account' }))
  await page.click(`text=${alice}`)
  await allow(page)
  await back(app, page)
  assert.equal((await app.finish()).sub, first.did)
  const open = await nodeApp('public')
  await silently(open, page, pds)
  assert.equal(await told(open), 'consent_required') // it cannot prove what app it is, so it learns nothing of who is signed in
  const proven = await nodeApp('confidential')
  await letIn(proven, page, first, { fresh: false, prompt: 'consent' })
  // One that can is let in as the only account that knows it, and learns nothing of the other, however it asks.
  await silently(proven, page, pds)
  assert.equal((await proven.finish()).sub, first.did)
  await page.goto((await proven.start(pds, { prompt: 'none' })) + '&account=' + second.did)
  await back(proven, page)
  assert.equal((await proven.finish()).sub, first.did)
  await silently(proven, page, bob)
  assert.equal(await told(proven), 'login_required')
  await letIn(proven, page, second, { fresh: false })
  await silently(proven, page, pds)
  assert.equal(await told(proven), 'account_selection_required')
  assert.ok((await create(await app.client.restore(second.did), post)).status === 200) // both sessions live
})

test('pages: sign-up on the way', async (t) => {
  const { page } = await profile(t)
  const app = await nodeApp('confidential')
  await page.goto(await app.start(pds, { prompt: 'create' }))
  await page.fill('#handle', 'newcomer')
  await page.fill('#email', 'newcomer@example.com')
  await page.fill('#password', password)
  await page.fill('#invite', 'not-an-invite-code')
  await page.click('button.button:has-text("Create the account")')
  await page.waitForSelector('[role=alert]')
  await page.fill('#password', password)
  await page.fill('#invite', await invite())
  await page.click('button.button:has-text("Create the account")')
  await allow(page)
  await back(app, page)
  const session = await app.finish()
  const who = await call('com.atproto.server.createSession', { identifier: 'newcomer' + domain, password })
  assert.equal(session.sub, who.did)
  assert.equal((await create(session, post)).status, 200)
})

test('pages: an account that was deactivated', async (t) => {
  const { page } = await profile(t)
  const who = await account('walter' + domain)
  await call('com.atproto.server.deactivateAccount', {}, who.accessJwt)
  const app = await nodeApp('confidential')
  await page.goto(await app.start(pds)) // its handle leads nowhere now
  await signIn(page, who.handle)
  await page.click('text=Reactivate and continue')
  await allow(page)
  await back(app, page)
  assert.equal((await create(await app.finish(), post)).status, 200)
})
