import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask, callback, redirect } from './app.mjs'
import { adminPost, audit, full, held, launch, operate, signUp, sizes, url, visit } from './browser.mjs'

let browser, invite
before(async () => {
  browser = await launch()
  invite = (await adminPost('com.atproto.server.createInviteCode', { useCount: 20 })).code
})
after(() => browser?.close())

const password = 'correct horse'

async function fillSignUp(page, name) {
  await page.fill('#handle', name)
  await page.fill('#email', `${name}@example.com`)
  await page.fill('#password', password)
  if (await page.$('#invite')) await page.fill('#invite', invite)
}

for (const size of Object.keys(sizes)) {
  test(`a newcomer on a ${size}`, async () => {
    const v = await visit(browser, size)
    const { page } = v
    const name = 'new-' + size

    await page.goto(url + '/')
    await audit(v, 'home')
    await page.click('text=Create an account')
    await audit(v, 'sign-up')
    await page.fill('#handle', name)
    await page.waitForFunction(() => document.querySelector('#handle-checked').textContent.includes('is available'))
    await fillSignUp(page, name)
    await page.fill('#password', 'short')
    await page.click('button.button[type=submit]:has-text("Create the account")')
    await page.waitForSelector('[role=alert]:focus') // the summary of the errors has the focus
    assert.match(await page.title(), /^Error:/)
    await audit(v, 'sign-up-error')
    await page.fill('#password', password)
    if (size === 'phone') await page.click('button.button[type=submit]:has-text("Create the account")')
    else await page.keyboard.press('Enter')
    await page.waitForURL('**/account')
    await audit(v, 'overview')

    await page.click('.menu summary')
    await audit(v, 'menu')
    await page.keyboard.press('Escape')
    await page.goto(url + '/account/switch')
    await audit(v, 'switch')
    await page.click('.account')
    await page.waitForURL('**/account')
    await page.goto(url + '/account/confirm?next=/account')
    await audit(v, 'confirm')
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    await page.waitForURL('**/account')
    await page.click('.menu summary')
    await page.click('.panel button')
    await page.waitForURL('**/account/sign-in')
    await audit(v, 'signed-out')
    await page.fill('#identifier', name + '.test')
    await page.fill('#password', 'wrong')
    await page.click('text="Show"')
    assert.equal(await page.getAttribute('#password', 'type'), 'text')
    await page.keyboard.press('Tab')
    await page.click('button.button[type=submit]')
    await audit(v, 'sign-in-error')
    await page.click('text=Forgotten your password?')
    await audit(v, 'reset')
    await page.fill('#email', name + '@example.com')
    await page.keyboard.press('Enter')
    await page.waitForURL('**/account/reset/code')
    await audit(v, 'reset-code')
    const { code } = await operate('/perch/code', { account: name + '.test', purpose: 'reset-password' })
    await page.fill('#code', code)
    await page.fill('#password', 'another ' + password)
    await page.keyboard.press('Enter')
    await page.waitForURL('**/account/sign-in**')
    await page.goto(url + '/nowhere')
    await audit(v, 'missing')
    await page.click('main .button')
    await page.waitForURL(url + '/')

    // A form that has lost its cookie, and one that another page has sent.
    await page.goto(url + '/account/reset')
    await v.context.clearCookies()
    await page.fill('#email', 'a@example.com')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-page=problem]')
    await audit(v, 'problem-cookies')
    await page.goto(url + '/account/reset')
    await page.evaluate(() => { document.querySelector('main [name=token]').value = 'AAAA' })
    await page.fill('#email', 'a@example.com')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-page=problem]')
    await audit(v, 'problem-forgery')
    await v.context.close()
  })
}

for (const size of Object.keys(sizes)) {
  test(`an app asks on a ${size}`, async () => {
    const v = await visit(browser, size)
    const { page } = v
    const [first, second] = ['app-' + size, 'two-' + size]
    await signUp(first)
    const { accessJwt } = await signUp(second)
    let told = callback(page)
    await page.goto(await ask())
    await audit(v, 'app-sign-in')
    await page.fill('#identifier', first + '.test')
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    await page.waitForURL('**/oauth/authorize**')
    await audit(v, 'consent')
    const details = await page.locator('fieldset summary').count()
    for (let i = 1; i <= details; i++) await page.click(`:nth-match(fieldset summary, ${i})`)
    await audit(v, 'consent-details')
    await page.uncheck('text=Use your account nearly as you do yourself')
    await page.click('text="Allow"')
    assert.ok((await told).get('code'), 'the app has got no code')
    await page.waitForURL(redirect + '**')

    await page.goto(await ask({ prompt: 'select_account' }))
    await page.click('text=Use another account')
    await page.fill('#identifier', second + '.test')
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    await page.waitForURL('**/oauth/authorize**')
    await page.goto(await ask())
    await audit(v, 'app-account')
    await fetch(url + '/xrpc/com.atproto.server.deactivateAccount', {
      method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer ' + accessJwt }, body: '{}',
    })
    await page.click('text=' + second)
    await audit(v, 'reactivate')
    await page.click('text=Reactivate and continue')
    await page.waitForSelector('text="Allow"')
    told = callback(page)
    await page.click('text="Cancel"')
    assert.equal((await told).get('error'), 'access_denied')
    await page.waitForURL(redirect + '**')

    await page.goto(await ask({ response_mode: 'form_post', login_hint: first + '.test' }, 'atproto'))
    await held(v, () => page.click('text="Allow"'))
    await audit(v, 'leave')
    told = callback(page)
    await page.click('main button')
    assert.ok((await told).get('code'))
    await page.waitForURL(redirect + '**')
    await page.goto(await ask({ response_mode: 'form_post', login_hint: first + '.test' }, 'atproto'))
    told = callback(page)
    await page.click('text="Allow"')
    assert.ok((await told).get('code'), 'the form did not send itself')
    await page.waitForURL(redirect + '**')
    await page.goto(url + '/oauth/authorize')
    await audit(v, 'app-unknown')
    const answered = await ask({ login_hint: first + '.test' }, 'atproto')
    await page.goto(answered)
    await page.click('text="Cancel"')
    await page.waitForURL(redirect + '**')
    await page.goto(answered)
    await audit(v, 'app-ended')
    await v.context.close()
  })
}

// A site can have a double click begin on itself, and end where it has led this window meanwhile.
test('an app is not let in by half a double click', async () => {
  await signUp('hasty')
  const v = await visit(browser, 'desktop')
  const { page } = v
  await page.goto(await ask({ login_hint: 'hasty.test' }, 'atproto'))
  await page.fill('#password', password)
  await page.keyboard.press('Enter')
  await page.waitForSelector('text="Allow"')
  for (const sight of ['focus', 'pageshow', 'visibilitychange']) {
    const hit = await page.evaluate((sight) => {
      const allow = document.querySelector('button[value=allow]')
      allow.scrollIntoView()
      const { x, y, width, height } = allow.getBoundingClientRect()
      dispatchEvent(new Event(sight))
      return document.elementFromPoint(x + width / 2, y + height / 2) === allow
    }, sight)
    assert.ok(!hit, `a click just after ${sight} lets the app in`)
  }
  const told = callback(page)
  await page.click('text="Allow"')
  assert.ok((await told).get('code'), 'a calm click does not let the app in')
  await v.context.close()
})

test('an app asks, without script', async () => {
  await signUp('still')
  const v = await visit(browser, 'phone', { javaScriptEnabled: false })
  const { page } = v
  await page.goto(await ask({ response_mode: 'form_post', prompt: 'create' }, 'atproto'))
  await page.click('text="Sign in"')
  await page.fill('#identifier', 'still.test')
  await page.fill('#password', password)
  await page.keyboard.press('Enter')
  await page.waitForURL('**/oauth/authorize**')
  await page.click('text="Allow"')
  const told = callback(page)
  await page.click('text="Continue"')
  assert.ok((await told).get('code'))
  await v.context.close()
})

test('who is not signed in comes to the sign-in, and back', async () => {
  const v = await visit(browser, 'phone')
  const { page } = v
  await signUp('returns')
  const shut = []
  for (const path of JSON.parse(process.env.PEERS_PAGES)) {
    await v.context.clearCookies()
    await page.goto(url + path)
    if (new URL(page.url()).pathname !== '/account/sign-in') continue // it is for everybody
    if (path === '/account/sign-in') continue
    shut.push(path)
    assert.equal(new URL(page.url()).searchParams.get('next'), path)
    await page.fill('#identifier', 'returns.test')
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    const back = page.url()
    await page.goto(url + path)
    assert.equal(back.split('?')[0], page.url().split('?')[0], path)
  }
  assert.ok(shut.length > 20, String(shut))
  await v.context.close()
})

test('a move here that needs an invite code', async () => {
  const name = 'elsewhere'
  const response = await fetch(full + '/xrpc/com.atproto.server.createAccount', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ handle: name + '.test', email: name + '@example.com', password }),
  })
  const { did } = await response.json()
  const v = await visit(browser, 'desktop')
  await v.page.goto(`${url}/move/from?account=${did}`)
  await audit(v, 'move-invite')
  await v.page.fill('#invite', invite)
  await v.page.keyboard.press('Enter')
  await v.page.waitForSelector('#password, button:has-text("Sign in at your old server")', { state: 'attached' })
  await audit(v, 'move-invited')
  await v.context.close()
})

test('everything works without script', async () => {
  const v = await visit(browser, 'phone', { javaScriptEnabled: false })
  const { page } = v
  await page.goto(url + '/account/sign-up')
  await page.fill('#handle', 'plain')
  await page.click('text=Is it available?')
  await page.waitForSelector('text=plain.test is available')
  await fillSignUp(page, 'plain')
  await page.click('text="Create the account"')
  await page.waitForURL('**/account')
  await page.click('.menu summary')
  await page.click('.panel button')
  await page.waitForURL('**/account/sign-in')
  await page.fill('#identifier', 'plain@example.com')
  await page.fill('#password', password)
  await page.click('button.button[type=submit]')
  await page.waitForURL('**/account')
  await v.context.close()
})
