import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { audit, launch, old, url, visit } from '../web/browser.mjs'

const movers = JSON.parse(process.env.PEERS_MOVERS)

let browser
before(async () => { browser = await launch() })
after(() => browser?.close())

// mailed waits for the newest code in somebody's mailbox.
async function mailed(name) {
  for (let i = 0; i < 600; i++) {
    const response = await fetch(`${process.env.PEERS_MAILBOX}/${name}@example.com`)
    const code = response.ok && (await response.text()).match(/[A-Z2-7]{5}-[A-Z2-7]{5}/)?.[0]
    if (code) return code
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.fail('no code was mailed to ' + name)
}

// byPassword signs in at the old server with its password, after a wrong one.
async function byPassword({ page, ...v }) {
  await page.click('summary:has-text("password")')
  await page.fill('#password', 'wrong')
  await page.click('details button[type=submit]')
  await page.waitForSelector('[role=alert]')
  await audit({ page, ...v }, 'move-wrong-password')
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
  test(`somebody moves here on a ${size}`, async () => {
    const v = await visit(browser, size)
    const { page } = v
    await page.goto(url + '/')
    await page.click('a:has-text("Move it here")')
    await audit(v, 'move')
    await page.fill('#account', 'nobody.example')
    await page.click('button:has-text("Continue")')
    await page.waitForSelector('[role=alert]')
    await page.fill('#account', did)
    await page.click('button:has-text("Continue")')
    await page.waitForURL('**/move/from?*')
    const name = (await page.textContent('.facts dd')).trim().replace('.test', '')
    await audit(v, 'move-from')
    await (size === 'phone' ? byBrowser(v) : byPassword(v))
    await page.waitForURL(url + '/move/account')
    await audit(v, 'move-account')
    await page.fill('#password', 'short')
    await page.click('button:has-text("Begin to copy")')
    await page.waitForSelector('[role=alert]')
    await page.fill('#password', 'here-password')
    const hold = '**/move/progress.json' // so that the page stays as it is while it is looked at
    await page.route(hold, (route) => route.fulfill({ status: 429 }))
    await page.click('button:has-text("Begin to copy")')
    await page.waitForURL('**/move/progress')
    if (await page.$('[data-progress]')) await audit(v, 'move-progress')
    await page.unroute(hold)
    await page.waitForSelector('#code') // the script has seen it
    await audit(v, 'move-code')
    await page.fill('#code', 'AAAAA-AAAAA')
    await page.click('button:has-text("Move the account here")')
    await page.waitForSelector('[role=alert]')
    await page.click('a:has-text("Give the move up")')
    await audit(v, 'move-abandon')
    await page.click('text="Go on moving"')
    await page.fill('#code', await mailed(name))
    await page.click('button:has-text("Move the account here")')
    await page.waitForFunction(() => /Only the old account is left|Your account has moved/.test(document.querySelector('h1').textContent))
    if (await page.$('#password')) { // the reference lets nobody deactivate who has signed in in a browser
      await audit(v, 'move-farewell')
      await page.fill('#password', 'mover-password')
      await page.click('button:has-text("Deactivate the old account")')
    }
    await page.waitForSelector('h1:has-text("Your account has moved")')
    await audit(v, 'move-done')
    await page.click('a:has-text("Sign in")')
    await page.fill('#password', 'here-password')
    await page.click('button.button[type=submit]')
    await page.waitForURL('**/account')
    await page.goto(url + '/account/move')
    await audit(v, 'away')
    await page.fill('#to', url)
    await page.click('main button:has-text("Continue")')
    await page.waitForURL(/\/account\/(move\/to|confirm)/)
    await audit(v, 'away-here')
    await v.context.close()
  })
}
