// Somebody moves away from here to another Perch, by the pages.
import { after, before, test } from 'node:test'
import { audit, full as far, inAll, launch, old, speaks, url } from '../web/browser.mjs'
import { door, join, lax, leave, longFar, mailed, password, refused, stage, walk } from './stage.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser?.close())

for (const size of ['phone', 'desktop']) {
  test(`somebody moves away on a ${size}`, { concurrency: true }, () => walk(browser, size, async (v, page) => {
    const everywhere = async (what) => {
      await audit(v, what)
      await inAll(v, what)
    }
    const { did, name, handle, email } = await join('away-' + size, { origin: url, pictures: 2 })
    await page.goto(url + '/account/sign-in')
    await page.fill('#identifier', handle)
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    await page.waitForURL('**/account')
    await page.click('nav a[href="/account/move"]')
    await everywhere('away')
    for (const [to, text] of [
      [new URL(url).host.replace('localhost', 'http://localhost'), 'This is the address of this server'], ['https://example.com/path', 'cannot move to this server'],
    ]) {
      await page.fill('#to', to)
      await refused(page, 'main button:has-text("Continue")', text)
      await speaks(v, 'away-refused-' + text.split(' ').slice(0, 3).join('-'))
    }
    await page.goto(`${url}/account/move/to?to=${old}`) // which gives such handles, too
    await audit(v, 'away-to-keep')
    await page.goto(url + '/account/move')
    await page.fill('#to', door)
    await page.click('main button:has-text("Continue")')
    await page.waitForURL('**/account/move/to*')
    await everywhere('away-to')
    await lax(page)
    await refused(page, 'button:has-text("Begin to copy")', 'Choose a password for the new server')
    await speaks(v, 'away-no-password')
    await leave(page, 'x')
    await page.waitForSelector('[role=alert]:has-text("This handle cannot be used there")')
    await speaks(v, 'away-handle')
    await page.selectOption('#domain', longFar)
    await leave(page, name)
    await page.waitForURL('**/account/move/progress')
    await page.waitForSelector('#code')
    await everywhere('away-code')
    await page.fill('#code', 'AAAAA-AAAAA')
    await page.click('button:has-text("Move the account away")')
    await page.waitForSelector('#code-error')
    await page.click('a:has-text("Give the move up")')
    await everywhere('away-abandon')
    await page.click('text="Go on moving"')

    const submit = { door: 'plc', method: 'POST', path: '/' + did }
    await stage({ do: 'spoil', ...submit, status: 400, body: '{"message":"no"}' })
    await page.fill('#code', await mailed(email))
    await page.click('button:has-text("Move the account away")')
    await page.waitForSelector('text=did not take the change')
    await audit(v, 'away-asked')
    await stage({ do: 'mend', ...submit })
    await page.fill('#code', await mailed(email))
    await page.click('button:has-text("Move the account away")')
    await page.waitForSelector('h1:has-text("Your account has moved")')
    await audit(v, 'away-done')
  }))
}

test('somebody stays after all', { concurrency: true }, () => walk(browser, 'desktop', async (v, page) => {
  const { handle, name } = await join('stays', { origin: url })
  await page.goto(url + '/account/sign-in')
  await page.fill('#identifier', handle)
  await page.fill('#password', password)
  await page.keyboard.press('Enter')
  await page.waitForURL('**/account')
  await page.goto(`${url}/account/move/to?to=${far}`)
  await leave(page, name)
  await page.waitForSelector('#code')
  await page.click('a:has-text("Give the move up")')
  await page.click('button:has-text("Give it up")')
  await page.waitForSelector('#to')
}))
