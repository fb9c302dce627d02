// Every page in every language but English, in which all others are: on a phone, where a long word is the first to be too long.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask, callback, letIn, redirect } from './app.mjs'
import { adminPost, held, languages, launch, operate, signUp, speaks, totp, url, visit } from './browser.mjs'

const password = 'correct horse'
let browser
before(async () => {
  browser = await launch()
})
after(() => browser?.close())

const signedOut = ['/', '/account/sign-in', '/account/sign-up', '/account/reset', '/account/reset/code', '/account/nowhere', '/oauth/authorize']
const members = [
  '', '/profile', '/handle', '/email', '/security', '/passkeys', '/apps', '/app-passwords', '/devices', '/invites', '/keys', '/data', '/close', '/switch', '/confirm?next=/account',
].map((path) => '/account' + path)
const admins = ['', '/accounts', '/invites', '/mail', '/jobs', '/relays', '/audit'].map((path) => '/admin' + path)

// send sends the form of a page that does something.
const send = (page, what) => page.click(`form:has([name=do][value="${what}"]) button[type=submit]`)
const submit = (page) => page.click('main form .button[type=submit]')

for (const lang of languages.slice(1)) {
  test(`every page in ${lang}`, async () => {
    const v = await visit(browser, 'phone')
    const { page } = v
    const see = async (path) => {
      await page.goto(url + path)
      await looks(path.slice(1).replaceAll('/', '-') || 'home')
    }
    const looks = async (what) => {
      assert.equal(await page.getAttribute('html', 'lang'), lang)
      await speaks(v, what)
    }
    const account = `reader-${lang}.test`
    const { did } = await signUp(`reader-${lang}`)
    const code = async (purpose) => (await operate('/perch/code', { account: did, purpose })).code
    const signIn = async () => {
      await page.goto(url + '/account/sign-in')
      await page.fill('#identifier', account)
      await page.fill('#password', password)
      await submit(page)
    }

    await page.goto(`${url}/?lang=${lang}`)
    for (const path of signedOut) await see(path)
    await signIn()
    await letIn(page, { login_hint: did })
    for (const path of members) await see(path)
    await page.goto(await ask({}))
    await looks('consent')
    await page.goto(await ask({ prompt: 'select_account' }))
    await looks('authorize-account')
    await page.goto(await ask({ response_mode: 'form_post' }, 'atproto'))
    await held(v, () => page.click('button[value=allow]'))
    await looks('leave')
    const told = callback(page)
    await page.click('main button')
    await told
    await page.waitForURL(redirect + '**')

    await page.goto(url + '/account/security')
    await send(page, 'app')
    await looks('totp')
    await page.fill('#code', totp(await page.textContent('#secret')))
    await submit(page)
    const recovery = await page.locator('.codes code').allTextContents()
    await looks('recovery')
    await page.goto(url + '/account/app-passwords')
    await page.fill('#name', 'Deck')
    await send(page, 'create')
    await looks('app-password')
    await page.goto(url + '/account/keys')
    await page.click('form:has([name=what][value=create]) button')
    await looks('keys-code')
    await page.fill('#code', await code('plc-operation'))
    await send(page, 'finish')
    await looks('keys-new')

    await operate('/perch/role', { account, role: true })
    await see('/admin') // which asks for the second factor
    await page.fill('#code', recovery[0])
    await submit(page)
    for (const path of [...admins, '/admin/accounts/' + did]) await see(path)
    await operate('/perch/role', { account, role: false })

    await page.goto(url + '/account/close')
    await send(page, 'deactivate')
    await page.goto(await ask({ login_hint: did }))
    await looks('reactivate')
    await page.goto(url + '/account/close')
    await send(page, 'ask')
    await looks('delete')
    await v.context.clearCookies()
    await page.goto(`${url}/?lang=${lang}`)
    await signIn()
    await looks('factor')
    await v.context.close()
  })
}
