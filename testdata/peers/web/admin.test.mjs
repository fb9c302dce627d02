// The administration pages: on a phone and a desktop, with something in them.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { adminPost, audit, fits, launch, operate, signUp, sizes, totp, url, visit } from './browser.mjs'

let browser, people
const password = 'correct horse'

before(async () => {
  browser = await launch()
  people = await Promise.all(['ada', 'berta', 'carla'].map((name) => signUp(name + '-admin')))
  for (const { accessJwt } of people) { // a mail that waits
    await fetch(url + '/xrpc/com.atproto.server.requestEmailConfirmation', { method: 'POST', headers: { authorization: 'Bearer ' + accessJwt } })
  }
  await adminPost('com.atproto.admin.updateSubjectStatus', {
    subject: { $type: 'com.atproto.admin.defs#repoRef', did: people[2].did }, takedown: { applied: true, ref: 'case-17' },
  })
})
after(() => browser?.close())

for (const size of Object.keys(sizes)) {
  test(`an administrator on a ${size}`, async () => {
    const name = 'boss-' + size
    await signUp(name)
    const account = name + '.test'
    const v = await visit(browser, size)
    const { page } = v
    await page.goto(url + '/account/sign-in?next=/admin')
    await page.fill('#identifier', account)
    await page.fill('#password', password)
    await page.keyboard.press('Enter')
    await page.waitForSelector('text=There is nothing here')
    const { secret } = await operate('/perch/factor', { account, action: 'begin' })
    const { recoveryCodes } = await operate('/perch/factor', { account, action: 'confirm', code: totp(secret) })
    await operate('/perch/role', { account, role: true })
    await page.goto(url + '/admin')
    await page.waitForSelector('text=Confirm with your second factor')
    await audit(v, 'admin-factor')
    await page.fill('#code', recoveryCodes[0])
    await page.keyboard.press('Enter')

    await page.waitForSelector('figure svg')
    await audit(v, 'admin')
    await page.click('summary:has-text("The same as a table")')
    await audit(v, 'admin-table')
    await page.click('text="Day"')
    await fits(v, 'admin-day')
    await page.goto(url + '/admin/accounts')
    await audit(v, 'admin-accounts')
    await page.fill('#q', 'ada-admin')
    await page.keyboard.press('Enter')
    await page.click('text="ada-admin.test"')
    await audit(v, 'admin-account')
    await page.click('button:has-text("Take down")')
    await page.waitForSelector('[role=alert]:focus')
    await audit(v, 'admin-account-error')
    await page.fill('#reason', 'Spam, reported by several people')
    await page.click('button:has-text("Suspend")')
    await page.waitForSelector('text=The account is suspended')
    await audit(v, 'admin-account-suspended')
    await page.click('button:has-text("Restore")')
    await page.waitForSelector('text=The account is restored')
    await page.goto(url + '/admin/invites')
    await audit(v, 'admin-invites')
    await page.fill('#count', '3')
    await page.click('button:has-text("Create codes")')
    await page.waitForSelector('text=New codes')
    await audit(v, 'admin-invites-made')
    await page.click('main table button')
    await page.waitForSelector('[role=status]')
    for (const path of ['mail', 'jobs', 'relays']) { // neither mails nor relays get anywhere here, so there is something to try again
      await page.goto(url + '/admin/' + path)
      await audit(v, 'admin-' + path)
      await page.click('main form[method=post] button')
      await page.waitForSelector('[role=status]')
    }
    await page.goto(url + '/admin/audit')
    await audit(v, 'admin-audit')
    await page.fill('#actor', 'account')
    await page.click('.filter button')
    await page.waitForURL('**/admin/audit?**')
    await v.context.close()
  })
}
