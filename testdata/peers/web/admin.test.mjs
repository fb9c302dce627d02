// The administration pages: on a phone and a desktop, with something in them.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, before, test } from 'node:test'
import { adminPost, audit, fits, launch, operate, sizes, url, visit } from './browser.mjs'

let browser, invite, people
const password = 'correct horse'

before(async () => {
  browser = await launch()
  invite = (await adminPost('com.atproto.server.createInviteCode', { useCount: 20 })).code
  people = await Promise.all(['ada', 'berta', 'carla'].map((name) => signUp(name + '-admin')))
  await adminPost('com.atproto.admin.updateSubjectStatus', {
    subject: { $type: 'com.atproto.admin.defs#repoRef', did: people[2].did }, takedown: { applied: true, ref: 'case-17' },
  })
})
after(() => browser?.close())

async function signUp(name) {
  const response = await fetch(url + '/xrpc/com.atproto.server.createAccount', {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ handle: name + '.test', email: name + '@example.com', password, inviteCode: invite }),
  })
  assert.equal(response.status, 200, await response.clone().text())
  return response.json()
}

// totp is what an authenticator app shows.
function totp(secret) {
  const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)))
  const sum = createHmac('sha1', key).update(counter).digest()
  return String((sum.readUInt32BE(sum[19] & 15) & 0x7fffffff) % 1e6).padStart(6, '0')
}

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
    await page.fill('#count', '3')
    await page.click('button:has-text("Create codes")')
    await page.waitForSelector('text=New codes')
    await audit(v, 'admin-invites')
    for (const path of ['mail', 'jobs', 'relays', 'audit']) {
      await page.goto(url + '/admin/' + path)
      await audit(v, 'admin-' + path)
    }
    for (const lang of ['de', 'es', 'fr', 'ja', 'pt', 'en']) {
      for (const path of ['', '/accounts', '/accounts/' + people[0].did, '/invites', '/mail', '/jobs', '/relays', '/audit']) {
        await page.goto(`${url}/admin${path}?lang=${lang}`)
        await fits(v, lang + '-admin' + path.replaceAll('/', '-'))
      }
    }
    await v.context.close()
  })
}
