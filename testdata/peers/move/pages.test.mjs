// Somebody moves from the reference PDS to here by the pages alone: on a phone by the sign-in there, on a desktop with its password.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { audit, inAll, launch, old, speaks, url } from '../web/browser.mjs'
import { invite, lax, mailed, refused, walk } from './stage.mjs'

const movers = JSON.parse(process.env.PEERS_MOVERS)

let browser
before(async () => { browser = await launch() })
after(() => browser?.close())

// byPassword signs in at the old server with its password, after none and a wrong one.
async function byPassword(v) {
  const { page } = v
  await page.click('summary:has-text("password")')
  await lax(page)
  await refused(page, 'details button[type=submit]', 'Enter the password of your old server')
  await speaks(v, 'move-no-password')
  await page.fill('#password', 'wrong')
  await refused(page, 'details button[type=submit]', 'does not take this password')
  await audit(v, 'move-wrong-password')
  await page.fill('#password', 'mover-password')
  await page.click('details button[type=submit]')
}

// byBrowser signs in at the old server, on its own pages.
async function byBrowser({ page, complaints }) {
  await page.click('button:has-text("Sign in at your old server")')
  await page.waitForURL(old + '/**')
  await page.fill('input[type=password]', 'mover-password')
  await page.keyboard.press('Enter')
  await page.click('button:has-text("Authorize")')
  await page.waitForURL(url + '/**')
  complaints.length = 0 // those were about the reference's pages
}

for (const [size, did] of Object.entries(movers)) {
  test(`somebody moves here on a ${size}`, { concurrency: true }, () => walk(browser, size, async (v, page) => {
    const everywhere = async (what) => {
      await audit(v, what)
      await inAll(v, what)
    }
    await page.goto(url + '/account/sign-up')
    await speaks(v, 'sign-up')
    await page.goto(url + '/move/came-back?how=done')
    await audit(v, 'move-came-back')
    await page.goto(url + '/')
    await speaks(v, 'home')
    await page.click('a:has-text("Move it here")')
    await everywhere('move')
    await page.fill('#account', did)
    await page.click('button:has-text("Continue")')
    await page.waitForURL('**/move/from?*')
    const name = (await page.textContent('.facts dd')).trim().replace('.test', '')
    await everywhere('move-invite')
    for (const again of ['sign-in', 'browser']) { // as pages that are loaded again
      await page.goto(`${url}/move/${again}?account=${did}`)
      await audit(v, 'move-' + again)
    }
    await page.fill('#invite', await invite())
    await page.click('button:has-text("Continue")')
    await page.waitForSelector('button:has-text("Sign in at your old server")')
    await audit(v, 'move-from')
    await (size === 'phone' ? byBrowser(v) : byPassword(v))
    await page.waitForURL(url + '/move/account')
    await everywhere('move-account')
    await page.fill('#password', 'short')
    await page.click('button:has-text("Begin to copy")')
    await page.waitForSelector('[role=alert]')
    await page.fill('#password', 'here-password')
    await page.click('button:has-text("Begin to copy")')
    await page.waitForURL('**/move/progress')
    await page.waitForSelector('#code') // the script has seen it
    await everywhere('move-code')
    await page.fill('#code', 'AAAAA-AAAAA')
    await page.click('button:has-text("Move the account here")')
    await page.waitForSelector('[role=alert]')
    await page.click('a:has-text("Give the move up")')
    await everywhere('move-abandon')
    await page.click('text="Go on moving"')
    await page.fill('#code', await mailed(name + '@example.com'))
    await page.click('button:has-text("Move the account here")')
    await page.waitForSelector('h1:has-text("Your account has moved")')
    await audit(v, 'move-done')
    await page.click('a:has-text("Sign in")')
    await page.fill('#password', 'here-password')
    await page.click('button.button[type=submit]')
    await page.waitForURL('**/account')
    assert.equal(await page.textContent('.menu .handle').then((s) => s.includes(name)), true)
  }))
}
