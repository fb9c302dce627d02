// Passkeys, with an authenticator that Chromium makes up.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask } from './app.mjs'
import { audit, launch, operate, signUp, sizes, totp, url, visit } from './browser.mjs'

let browser
before(async () => {
  browser = await launch()
})
after(() => browser?.close())

const password = 'correct horse'

async function signIn(page, name) {
  await page.goto(url + '/account/sign-in')
  await page.fill('#identifier', name + '.test')
  await page.fill('#password', password)
  await page.press('#password', 'Enter')
}

async function signOut(page) {
  await page.click('.menu summary')
  await page.click('.panel button')
  await page.waitForURL('**/account/sign-in')
}

// authenticator gives the tab one. Somebody touches it whenever it asks, if present says so.
async function authenticator(v, present = true) {
  const cdp = await v.context.newCDPSession(v.page)
  await cdp.send('WebAuthn.enable')
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: present },
  })
  return {
    keys: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    touch: (enabled) => cdp.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled }),
    verify: (isUserVerified) => cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
  }
}

// offerNothing has the pages of the tab wait for the button: an authenticator that is touched takes every offer, again and again when it is refused.
const offerNothing = (page) => page.addInitScript(() => { PublicKeyCredential.isConditionalMediationAvailable = async () => false })

for (const size of Object.keys(sizes)) {
  test(`a passkey on a ${size}`, async () => {
    const v = await visit(browser, size)
    const { page } = v
    const name = 'pass-' + size
    await signUp(name)
    await signIn(page, name)
    await page.waitForURL('**/account')
    const device = await authenticator(v)
    await page.click('text="Passkeys"')
    await audit(v, 'passkeys-none')
    await page.fill('#name', 'Pocket')
    await page.keyboard.press('Enter') // the keyboard asks, too
    await page.waitForSelector('text=The passkey is added')
    assert.equal((await device.keys()).length, 1)
    await audit(v, 'passkeys')
    await page.click('button:has-text("Add a passkey")')
    await page.waitForSelector('text=There is a passkey of this account on that device already')
    await page.click('summary:has-text("Rename")')
    await audit(v, 'passkeys-rename')
    await page.fill('#name-0', 'Old phone')
    await page.click('text="Save"')
    await page.waitForSelector('h2:has-text("Old phone")')

    await page.goto(url + '/account/confirm?next=/account')
    await audit(v, 'confirm-passkey')
    await page.click('text="Confirm with a passkey"')
    await page.waitForURL('**/account')
    await device.touch(false) // or the offer beside the name would be taken at once
    await signOut(page)
    await audit(v, 'sign-in-passkey')
    await device.verify(false) // a wrong finger
    await device.touch(true)
    await page.click('text="Sign in with a passkey"')
    await page.waitForSelector('text=No passkey was used')
    await audit(v, 'sign-in-passkey-failed')
    await device.verify(true)
    await page.click('text="Sign in with a passkey"')
    await page.waitForURL('**/account')

    await device.touch(false)
    await signOut(page)
    await page.goto('about:blank') // no page may wait for a touch when touching begins
    await device.touch(true)
    await page.goto(await ask()) // where the offer beside the name is taken at once
    await page.waitForSelector('text="Allow"')

    await page.goto(url + '/account/passkeys')
    await page.click('button:has-text("Remove")')
    await page.waitForSelector('text=The passkey is removed')

    assert.equal((await device.keys()).length, 1) // the authenticator has it yet
    await offerNothing(page)
    await signOut(page)
    await page.click('text="Sign in with a passkey"')
    await page.waitForSelector('text=This passkey does not work here')
    await audit(v, 'sign-in-passkey-removed')
    await page.goto(url + '/account')
    await page.waitForURL('**/account/sign-in?*')
    await signIn(page, name)
    await page.waitForURL('**/account')
    await v.context.close()
  })
}

for (const size of Object.keys(sizes)) test(`a passkey before what is sensitive on a ${size}`, async () => {
  const name = 'guarded-' + size
  await signUp(name)
  const v = await visit(browser, size)
  const { page } = v
  await offerNothing(page)
  await signIn(page, name)
  await page.waitForURL('**/account')
  const device = await authenticator(v)
  await page.goto(url + '/account/passkeys')
  await page.click('button:has-text("Add a passkey")')
  await page.waitForSelector('h2:has-text("Passkey 1")') // who has just made it is not asked for it
  await signOut(page)
  await signIn(page, name) // with the password alone
  await page.waitForURL('**/account')
  await page.goto(url + '/account/email')
  await page.waitForSelector('h1:has-text("Confirm with your second factor")')
  assert.equal(await page.locator('#password, #code').count(), 0)
  await audit(v, 'confirm-factor-passkey')
  await device.verify(false) // a wrong finger
  await page.click('text="Use a passkey"')
  await page.waitForSelector('text=No passkey was used. Please try again.')
  await audit(v, 'confirm-factor-passkey-failed')
  await page.goto(url + '/account/security')
  await page.waitForSelector('h1:has-text("Confirm with your second factor")')
  await device.verify(true)
  await page.click('text="Use a passkey"')
  await page.waitForURL('**/account/security')
  await page.waitForSelector('#old-password')
  await v.context.close()
})

test('a passkey that the browser offers', async () => {
  const v = await visit(browser, 'desktop')
  const { page } = v
  await signUp('offered')
  await signIn(page, 'offered')
  await page.waitForURL('**/account')
  await authenticator(v)
  await page.goto(url + '/account/passkeys')
  await page.click('button:has-text("Add a passkey")')
  await page.waitForSelector('h2:has-text("Passkey 1")')
  await page.click('.menu summary')
  await page.click('.panel button')
  await page.waitForURL('**/account') // the authenticator takes the first offer
  assert.deepEqual(v.complaints, [])
  await v.context.close()
})

for (const size of Object.keys(sizes)) test(`a passkey after the password on a ${size}`, async () => {
  const name = 'twofold-' + size
  await signUp(name)
  const v = await visit(browser, size)
  const { page } = v
  await signIn(page, name)
  await page.waitForURL('**/account')
  const device = await authenticator(v)
  await page.goto(url + '/account/passkeys')
  await page.click('button:has-text("Add a passkey")')
  await page.waitForSelector('h2:has-text("Passkey 1")')
  const { secret } = await operate('/perch/factor', { account: name + '.test', action: 'begin' })
  const { recoveryCodes } = await operate('/perch/factor', { account: name + '.test', action: 'confirm', code: totp(secret) })
  await device.touch(false)
  await signOut(page)
  await signIn(page, name)
  await page.waitForSelector('text=Confirm that it is you')
  await audit(v, 'factor-passkey')
  await offerNothing(page)
  await device.verify(false) // a wrong finger
  await device.touch(true)
  await page.click('text="Use a passkey"')
  await page.waitForSelector('text=No passkey was used')
  await audit(v, 'factor-passkey-failed')
  await page.goto(url + '/account') // the password alone has opened nothing
  await page.waitForURL('**/account/sign-in?*')
  await device.touch(false)
  await device.verify(true)
  await signIn(page, name)
  await page.waitForSelector('text=Confirm that it is you')
  await device.touch(true)
  await page.click('text="Use a passkey"')
  await page.waitForURL('**/account')

  await page.goto(url + '/account/passkeys')
  await page.click('button:has-text("Remove")')
  await page.waitForSelector('text=The passkey is removed')
  await signOut(page)
  await signIn(page, name)
  await page.waitForSelector('text=Confirm that it is you')
  assert.equal(await page.isVisible('text="Use a passkey"'), false)
  await audit(v, 'factor-passkey-removed')
  await page.fill('#code', '000000')
  await page.press('#code', 'Enter')
  await page.waitForSelector('#code-error')
  await audit(v, 'factor-wrong')
  await page.fill('#code', recoveryCodes[0])
  await page.press('#code', 'Enter')
  await page.waitForURL('**/account')
  await v.context.close()
})

test('without script the password remains', async () => {
  const v = await visit(browser, 'phone', { javaScriptEnabled: false })
  const { page } = v
  await signUp('scriptless')
  await page.goto(url + '/account/sign-in')
  assert.equal(await page.isVisible('text="Sign in with a passkey"'), false)
  await signIn(page, 'scriptless')
  await page.waitForURL('**/account')
  await page.goto(url + '/account/passkeys')
  assert.ok(await page.isVisible('text=This browser cannot use passkeys'))
  await v.context.close()
})
