// The pages on which people look after their account.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { letIn } from './app.mjs'
import { adminPost, audit, launch, operate, shots, sizes, totp, url, visit } from './browser.mjs'

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

// photo is a large picture as a camera makes it: with too much in it to be small, and notes of where it was taken.
async function photo(page, width, height) {
  const data = await page.evaluate(([width, height]) => {
    const canvas = document.createElement('canvas')
    Object.assign(canvas, { width, height })
    const context = canvas.getContext('2d'), noise = context.createImageData(width, height)
    noise.data.forEach((_, i) => { noise.data[i] = i % 4 === 3 ? 255 : Math.random() * 256 })
    context.putImageData(noise, 0, 0)
    return canvas.toDataURL('image/jpeg', 0.95)
  }, [width, height])
  const jpeg = Buffer.from(data.split(',')[1], 'base64'), notes = Buffer.from('Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0', 'latin1')
  const head = Buffer.from([0xff, 0xe1, 0, notes.length + 2])
  return Buffer.concat([jpeg.subarray(0, 2), head, notes, jpeg.subarray(2)])
}

// elsewhere is another browser in which a member is signed in, with a form filled in that is sensitive.
async function elsewhere(v, size, options) {
  const w = await visit(browser, size, options)
  await w.page.goto(url + '/account/sign-in?next=/account/app-passwords')
  await w.page.fill('#identifier', v.handle)
  await w.page.fill('#password', password)
  await w.page.press('#password', 'Enter')
  await w.page.fill('#name', 'Desk <lamp>')
  return w
}

const drawing = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAMAAAABCAIAAACUgoPjAAAADUlEQVR4nGM4EaABQQAUqgPBxpjGIwAAAABJRU5ErkJggg==', 'base64')

const press = (page, text) => page.click(`main button:has-text("${text}")`)
const told = (page, text) => page.waitForSelector(`[role=status]:has-text("${text}")`)

// askedForCode sends a form in a browser that has not shown the app yet. The form goes on when it has.
async function askedForCode(w, code) {
  const { page } = w
  await press(page, 'Create an app password')
  await page.waitForSelector('h1:has-text("Confirm with your second factor")')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'code')
  await audit(w, 'confirm-factor')
  await page.fill('#code', '000000')
  await page.press('#code', 'Enter')
  await page.waitForSelector('[role=alert]:focus')
  await audit(w, 'confirm-factor-wrong')
  await page.fill('#code', code)
  await page.press('#code', 'Enter')
  assert.match(await page.textContent('#secret'), /^(....-){3}....$/)
  assert.ok(await page.isVisible('text=Desk <lamp>'))
  await page.goto(url + '/account/email')
  await page.waitForSelector('h2:has-text("@example.com")')
}

for (const size of Object.keys(sizes)) {
  test(`a code by mail before what is sensitive on a ${size}`, async () => {
    const v = await member('mailed-' + size, size)
    await v.page.goto(url + '/account/email?step=confirm')
    await v.page.fill('#code', await mailed(v, 'confirm-email'))
    await press(v.page, 'Confirm the address')
    await told(v.page, 'is confirmed')
    const w = await elsewhere(v, size)
    await v.page.goto(url + '/account/security')
    await press(v.page, 'Switch on')
    await told(v.page, 'From now on')
    await press(w.page, 'Create an app password')
    await w.page.waitForSelector('text=We have sent a code to your e-mail address')
    await audit(w, 'confirm-factor-mail')
    await press(w.page, 'Send the code again')
    await w.page.waitForSelector('text=We have sent a code to your e-mail address')
    await w.page.fill('#code', await mailed(v, 'sign-in'))
    await w.page.press('#code', 'Enter')
    assert.match(await w.page.textContent('#secret'), /^(....-){3}....$/)
    await v.context.close()
    await w.context.close()
  })

  test(`an account on a ${size}`, async () => {
    const v = await member('member-' + size, size)
    const { page } = v
    await page.goto(url + '/account')
    await audit(v, 'account')

    await page.goto(url + '/account/profile')
    await page.fill('#name', 'Member of ' + size)
    await page.fill('#description', 'First line\nsecond line')
    // A photo with too many bytes and a place in it, and a drawing: the page makes of them what a profile can have.
    await page.setInputFiles('#avatar', { name: 'face.jpg', mimeType: 'image/jpeg', buffer: await photo(page, 2400, 1800) })
    await page.waitForFunction(() => document.querySelector('#avatar-now').naturalWidth > 0 && document.querySelector('#avatar').files[0].size < 1e6)
    await page.setInputFiles('#banner', { name: 'wide.png', mimeType: 'image/png', buffer: drawing })
    await page.waitForFunction(() => document.querySelector('#banner-now').naturalWidth > 0)
    await press(page, 'Save')
    await told(page, 'is saved')
    const { value } = await (await fetch(`${url}/xrpc/com.atproto.repo.getRecord?repo=${v.did}&collection=app.bsky.actor.profile&rkey=self`)).json()
    assert.deepEqual([value.avatar.mimeType, value.banner.mimeType], ['image/jpeg', 'image/png'])
    const kept = await fetch(`${url}/xrpc/com.atproto.sync.getBlob?did=${v.did}&cid=${value.avatar.ref.$link}`)
    assert.ok(!Buffer.from(await kept.arrayBuffer()).includes('Exif'))
    for (const kind of ['avatar', 'banner']) await page.waitForFunction((k) => document.getElementById(k + '-now').naturalWidth > 0, kind)
    if (shots) await page.screenshot({ path: `${shots}/profile-pictures-${size}.png`, fullPage: true })
    await page.check('#avatar-remove')
    await press(page, 'Save')
    await told(page, 'is saved')
    assert.ok(!await page.isVisible('#avatar-now'))
    await audit(v, 'profile')
    await page.setInputFiles('#avatar', { name: 'face.png', mimeType: 'image/png', buffer: Buffer.from('no picture') })
    await press(page, 'Save')
    await page.waitForSelector('#avatar-error')
    await audit(v, 'profile-error')

    await page.goto(url + '/account/handle')
    await audit(v, 'handle')
    await page.fill('#own', 'nobody.example.com')
    await press(page, 'Check')
    await page.waitForSelector('text=/missing|no answer/ >> nth=0') // with a network, and without one
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

    const before = await elsewhere(v, size)
    await page.goto(url + '/account/security')
    await audit(v, 'security')
    await press(page, 'Set up an app')
    await audit(v, 'totp')
    await page.fill('#code', totp(await page.textContent('#secret')))
    await press(page, 'Switch on')
    await page.waitForSelector('.codes')
    assert.equal(await page.locator('.codes li').count(), 10)
    const recovery = await page.locator('.codes code').allTextContents()
    await audit(v, 'recovery')
    await page.click('text="I have kept them"')
    await audit(v, 'security-on')
    await askedForCode(before, recovery[0])
    await before.context.close()
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
    await press(page, 'End access')
    await page.waitForSelector('main .card >> text=/app/')
    await audit(v, 'apps-none')
    await page.goto(url + '/account/app-passwords')
    await page.fill('#name', 'Deck')
    await press(page, 'Create an app password')
    assert.match(await page.textContent('#secret'), /^(....-){3}....$/)
    await audit(v, 'app-password')
    await page.click('text="I have kept it"')
    await audit(v, 'app-passwords')
    await page.goto(url + '/account/devices')
    await audit(v, 'devices')
    await press(page, 'Sign out everywhere else')
    await told(page, 'everywhere else')
    await page.goto(url + '/account/invites')
    await audit(v, 'invites')
    await v.context.grantPermissions(['clipboard-write'])
    await press(page, 'Copy')
    await page.waitForSelector('button:has-text("Copied")')

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
    await page.click('text="I have kept it"')
    await audit(v, 'keys-own')

    await page.goto(url + '/account/close')
    await audit(v, 'close')
    await press(page, 'Deactivate the account')
    await told(page, 'is deactivated')
    await audit(v, 'account-deactivated')
    await page.goto(url + '/account/close')
    await audit(v, 'close-deactivated')
    await press(page, 'Send me a code to delete it')
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

test('an account works without script', async () => {
  const v = await member('plain-member', 'phone', { javaScriptEnabled: false })
  const { page } = v
  await page.goto(url + '/account/profile')
  await page.setInputFiles('#avatar', { name: 'face.png', mimeType: 'image/png', buffer: drawing })
  await press(page, 'Save')
  await told(page, 'is saved')
  assert.match(await page.getAttribute('#avatar-now', 'src'), /^\/account\/profile\/avatar\?bafk/)
  await page.setInputFiles('#banner', { name: 'wide.png', mimeType: 'image/png', buffer: Buffer.concat([drawing, Buffer.alloc(6e6)]) })
  await press(page, 'Save')
  await page.waitForSelector('text=more than 1 MB >> nth=0')
  const before = await elsewhere(v, 'phone', { javaScriptEnabled: false })
  await page.goto(url + '/account/security')
  await press(page, 'Set up an app')
  await page.fill('#code', totp(await page.textContent('#secret')))
  await press(page, 'Switch on')
  const code = await page.textContent('.codes li >> nth=0')
  await page.click('text="I have kept them"')
  await press(before.page, 'Create an app password')
  await before.page.fill('#code', code)
  await press(before.page, 'Continue')
  assert.match(await before.page.textContent('#secret'), /^(....-){3}....$/)
  await before.context.close()
  await press(page, 'Switch off')
  await told(page, 'is switched off')
  await page.goto(url + '/account/devices')
  await press(page, 'Sign out everywhere else')
  await told(page, 'everywhere else')
  await v.context.close()
})
