// What an app is called: long, without a space, from right to left, or with something hidden in it. The pages hold it, and it stays what it is.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fits } from '../web/browser.mjs'
import { nodeApp } from './nodeapp.mjs'
import { deny, domain, member, profile, signIn } from './people.mjs'

const long = 'https://login.' + ['a', 'b', 'c'].map((c) => c.repeat(63)).join('.') + '.long-app.net/client.json'
const names = {
  long: ['X'.repeat(250), 'X'.repeat(200) + '…'],
  rtl: ['تطبيق جميل '.repeat(15).trim(), '\u2068' + 'تطبيق جميل '.repeat(15).trim() + '\u2069'],
  emoji: ['🦜'.repeat(120), '🦜'.repeat(120)],
  turned: ['Kite \u202etekcit', 'Kite tekcit'],
}
const sizes = { phone: { width: 375, height: 740 }, desktop: { width: 1280, height: 860 } }

// sees looks at the page that is open, on a phone and on a desktop.
async function sees(page, what, called) {
  assert.ok((await page.textContent('body')).includes(called), `${what} does not say ${called}`)
  for (const [name, size] of Object.entries(sizes)) {
    await page.setViewportSize(size)
    await fits({ page, name, complaints: [] }, what)
  }
}

for (const [name, [given, called]] of [...Object.entries(names), ['host', ['My bank', new URL(long).host]]]) {
  test(`pages: an app with a name that is ${name}`, async (t) => {
    const who = await member('alice')
    const { page } = await profile(t)
    const app = await nodeApp(name === 'host' ? 'public' : 'trusted', { named: { id: name === 'host' ? long : `https://trusted-app.net/${name}.json`, name: given } })
    await page.goto(await app.start(who.handle, { prompt: 'consent' }))
    await page.waitForSelector('#identifier')
    await sees(page, name + ' at the sign-in', called)
    await signIn(page)
    await page.waitForSelector('text="Allow"')
    await sees(page, name + ' at the question', called)
    assert.equal(await page.textContent('h1'), `Allow access for ${called}?`)
    await deny(page)
    await page.waitForURL(app.redirect + '**')
    await page.goto(await app.start('https://' + domain.slice(1), { prompt: 'select_account' }))
    await page.waitForSelector('.accounts')
    await sees(page, name + ' at the choice', called)
  })
}
