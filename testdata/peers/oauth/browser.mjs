// @atproto/oauth-client-browser, from sign-in to sign-out, in two tabs.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allow, member, pds, profile, signIn } from './people.mjs'
import { local, publish } from './site.mjs'

const origin = 'https://browser-app.net'
const scope = 'atproto repo:net.perch-club.post?action=create repo:net.perch-club.note include:net.perch-club.authPost'

publish(origin + '/client-metadata.json', {
  client_id: origin + '/client-metadata.json', client_name: 'Browser App', client_uri: origin, redirect_uris: [origin + '/'], scope,
  grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], application_type: 'web', dpop_bound_access_tokens: true,
  token_endpoint_auth_method: 'none',
})

// open loads the app and waits until it knows who is signed in.
const open = async (page, address) => {
  await page.goto(address)
  await ready(page)
}
const ready = async (page) => {
  await page.waitForFunction(() => window.app?.ready)
  return page.evaluate(() => window.app.ready)
}

// leave has the app send the browser away.
const leave = (page, who, options) => page.evaluate(([who, options]) => void window.app.client.signIn(who, options).catch((e) => console.error(String(e), String(e.cause))), [who, options])

const write = (page, did, collection) =>
  page.evaluate(([did, collection]) => window.app.call('com.atproto.repo.createRecord', { repo: did, collection, record: { $type: collection } }), [did, collection])

for (const [kind, at, name] of [['discoverable', origin, 'frank'], ['loopback', local, 'grace']]) {
  test(`browser, ${kind}`, async (t) => {
    const who = await member(name)
    const v = await profile(t)
    const { page } = v
    await open(page, at + '/')
    await leave(page, who.handle, { scope })
    await page.waitForURL(pds + '/**')
    await signIn(page)
    await allow(page)
    await page.waitForURL(at + '/**')
    assert.equal(await ready(page), who.did, await page.evaluate(() => window.app.error))

    assert.equal((await write(page, who.did, 'net.perch-club.post')).status, 200)
    assert.deepEqual(await write(page, who.did, 'app.bsky.feed.post'), { status: 403, error: 'ScopeMissingError' })
    const granted = await page.evaluate(() => window.app.refresh())
    assert.equal(granted.scope, 'atproto repo:net.perch-club.post?action=create repo:net.perch-club.note')

    // A second tab finds the session. Both refresh at once, and both go on.
    const second = await v.context.newPage()
    await open(second, at + '/')
    assert.equal(await ready(second), who.did)
    const refreshed = await Promise.all([page, second].map((p) => p.evaluate(() => window.app.refresh())))
    assert.deepEqual(refreshed.map((r) => r.error), [undefined, undefined])
    for (const p of [page, second]) assert.equal((await write(p, who.did, 'net.perch-club.note')).status, 200)

    // The clock of the browser is off by half a minute.
    for (const skew of [-30_000, 30_000]) {
      await second.evaluate((skew) => {
        const Real = Date
        globalThis.Date = class extends Real {
          constructor(...args) { args.length ? super(...args) : super(Real.now() + skew) }
          static now() { return Real.now() + skew }
        }
        window.app.restore = () => (globalThis.Date = Real)
      }, skew)
      assert.equal((await second.evaluate(() => window.app.refresh())).error, undefined, String(skew))
      assert.equal((await write(second, who.did, 'net.perch-club.note')).status, 200, String(skew))
      await second.evaluate(() => void window.app.restore())
    }

    // No question may be asked, and this app must ask.
    await leave(second, who.handle, { scope, prompt: 'none' })
    await second.waitForURL(at + '/**error=**')
    await ready(second)
    assert.equal(await second.evaluate(() => window.app.error), 'consent_required')
    await open(second, at + '/')

    await page.evaluate(() => window.app.session.signOut())
    await second.waitForFunction(() => window.app.gone.length > 0) // the other tab is told
    const after = await write(second, who.did, 'net.perch-club.note')
    assert.ok(after.error && after.status !== 200, JSON.stringify(after))
    await page.reload()
    assert.equal(await ready(page), undefined)
  })
}
