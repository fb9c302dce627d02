// The pages on which people look after their account.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { letIn } from './app.mjs'
import { adminPost, audit, fits, launch, operate, sizes, tabTo, url, visit } from './browser.mjs'

const password = 'correct horse'
let browser
before(async () => {
  browser = await launch()
})
after(() => browser?.close())

// member is a visitor who has an account with an invite code to give away and a post.
async function member(name, size, options) {
  const v = await visit(browser, size, options)
  const { code } = await adminPost('com.atproto.server.createInviteCode', { useCount: 1 })
  const { page } = v
  await page.goto(url + '/account/sign-up')
  await page.fill('#handle', name)
  await page.fill('#email', name + '@example.com')
  await page.fill('#password', password)
  await page.fill('#invite', code)
  await page.click('text="Create the account"')
  await page.waitForURL('**/account')
  v.did = await page.textContent('#did')
  v.handle = name + '.test'
  await adminPost('com.atproto.server.createInviteCode', { useCount: 3, forAccount: v.did })
  return v
}

// mailed is the code that the owner would find in a mail.
const mailed = async (v, purpose) => (await operate('/perch/code', { account: v.did, purpose })).code

// totp is what an authenticator app shows (RFC 6238).
function totp(secret) {
  const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)))
  const sum = createHmac('sha1', key).update(counter).digest()
  return String((sum.readUInt32BE(sum.at(-1) & 15) & 0x7fffffff) % 1e6).padStart(6, '0')
}

const press = (page, text) => page.click(`main button:has-text("${text}")`)
const told = (page, text) => page.waitForSelector(`[role=status]:has-text("${text}")`)

for (const size of Object.keys(sizes)) {
  test(`an account on a ${size}`, async () => {
    const v = await member('member-' + size, size)
    const { page } = v
    await page.goto(url + '/account')
    await audit(v, 'account')

    await page.goto(url + '/account/profile')
    await page.fill('#name', 'Member of ' + size)
    await page.fill('#description', 'First line\nsecond line')
    await press(page, 'Save')
    await told(page, 'is saved')
    await audit(v, 'profile')

    await page.goto(url + '/account/handle')
    await audit(v, 'handle')
    await page.fill('#own', 'nobody.example.com')
    await press(page, 'Check')
    await page.waitForSelector('text=missing >> nth=0', { timeout: 20000 }).catch(() => page.waitForSelector('text=no answer >> nth=0'))
    await audit(v, 'handle-own')
    await page.fill('#label', 'admin')
    await press(page, 'Change the handle')
    await page.waitForSelector('[role=alert]:focus')
    await audit(v, 'handle-error')

    await page.goto(url + '/account/email')
    await audit(v, 'email')
    await press(page, 'Send the code')
    await page.waitForSelector('#code')
    await audit(v, 'email-code')
    await page.fill('#code', await mailed(v, 'confirm-email'))
    await press(page, 'Confirm the address')
    await told(page, 'is confirmed')
    await press(page, 'Send a code to my present address')
    await audit(v, 'email-change')

    await page.goto(url + '/account/security')
    await audit(v, 'security')
    await press(page, 'Set up an app')
    await audit(v, 'totp')
    await page.fill('#code', totp(await page.textContent('#secret')))
    await press(page, 'Switch on')
    await page.waitForSelector('.codes')
    assert.equal(await page.locator('.codes li').count(), 10)
    await audit(v, 'recovery')
    await page.click('text="I have kept them"')
    await audit(v, 'security-on')
    await page.fill('#old-password', 'wrong')
    await page.fill('#new-password', 'new ' + password)
    await press(page, 'Change the password')
    await page.waitForSelector('#old-password-error')
    await audit(v, 'security-error')

    await letIn(page, { login_hint: v.did })
    await page.goto(url + '/account/apps')
    assert.equal(await page.locator('main .card').count(), 1)
    await page.waitForSelector('.may >> nth=0')
    await audit(v, 'apps')
    await page.goto(url + '/account/app-passwords')
    await page.fill('#name', 'Deck')
    await press(page, 'Create an app password')
    assert.match(await page.textContent('#secret'), /^(....-){3}....$/)
    await audit(v, 'app-password')
    await page.click('text="I have kept them"')
    await audit(v, 'app-passwords')
    await page.goto(url + '/account/devices')
    await audit(v, 'devices')
    await page.goto(url + '/account/invites')
    await audit(v, 'invites')

    await page.goto(url + '/account/data')
    await audit(v, 'data')
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('text=/^Download \\(/')])
    assert.match(download.suggestedFilename(), new RegExp(`^${v.handle}-.*\\.zip$`))
    assert.equal(readFileSync(await download.path()).subarray(0, 2).toString(), 'PK')

    await page.goto(url + '/account/keys')
    await audit(v, 'keys')
    await press(page, 'Create a key')
    await page.waitForSelector('#code')
    await audit(v, 'keys-code')
    await page.fill('#code', await mailed(v, 'plc-operation'))
    await press(page, 'Continue')
    await page.waitForSelector('#private')
    await audit(v, 'keys-new')
    const key = await page.textContent('#private')
    const [file] = await Promise.all([page.waitForEvent('download'), page.click('text="Save as a file"')])
    assert.equal(readFileSync(await file.path(), 'utf8'), key + '\n')
    await page.click('text="I have kept them"')
    await audit(v, 'keys-own')

    await page.goto(url + '/account/close')
    await audit(v, 'close')
    await press(page, 'Deactivate the account')
    await told(page, 'is deactivated')
    await audit(v, 'account-deactivated')
    await page.goto(url + '/account/close')
    await audit(v, 'close-deactivated')
    await press(page, 'Send me a code for it')
    await page.waitForSelector('#password')
    await audit(v, 'delete')
    await page.fill('#code', await mailed(v, 'delete-account'))
    await page.fill('#password', password)
    await press(page, 'Delete for good')
    await told(page, 'is deleted')
    await page.goto(url + '/account')
    await page.waitForURL('**/account/sign-in**')
    await v.context.close()
  })
}

const pages = ['', '/profile', '/handle', '/email', '/security', '/apps', '/app-passwords', '/devices', '/invites', '/keys', '/data', '/close']

test('every page of an account fits on a phone in every language', async () => {
  const v = await member('polyglot', 'phone')
  for (const lang of ['de', 'es', 'fr', 'ja', 'pt']) {
    for (const path of pages) {
      await v.page.goto(`${url}/account${path}?lang=${lang}`)
      assert.equal(await v.page.getAttribute('html', 'lang'), lang)
      await fits(v, `${lang}-account${path.replace('/', '-')}`)
    }
  }
  await v.context.close()
})

test('the keyboard is enough for an account', async () => {
  const v = await member('keys-only', 'desktop')
  const { page } = v
  await page.goto(url + '/account')
  await tabTo(page, 'Profile')
  await page.keyboard.press('Enter')
  await page.waitForURL('**/account/profile')
  await tabTo(page, 'name')
  await page.keyboard.type('Typist')
  await page.keyboard.press('Enter')
  await told(page, 'is saved')
  await tabTo(page, 'App passwords')
  await page.keyboard.press('Enter')
  await page.waitForURL('**/account/app-passwords')
  await tabTo(page, 'name')
  await page.keyboard.type('Deck')
  await tabTo(page, 'Create an app password')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#secret')
  assert.deepEqual(v.complaints, [])
  await v.context.close()
})

test('an account works without script', async () => {
  const v = await member('plain-member', 'phone', { javaScriptEnabled: false })
  const { page } = v
  await page.goto(url + '/account/security')
  await press(page, 'Set up an app')
  await page.fill('#code', totp(await page.textContent('#secret')))
  await press(page, 'Switch on')
  const code = await page.textContent('.codes li >> nth=0')
  await page.click('text="I have kept them"')
  await page.fill('#factor-code', code)
  await press(page, 'Switch off')
  await told(page, 'is switched off')
  await page.goto(url + '/account/devices')
  await press(page, 'Sign out everywhere else')
  await told(page, 'everywhere else')
  await v.context.close()
})
