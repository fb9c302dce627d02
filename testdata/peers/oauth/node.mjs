// @atproto/oauth-client-node, from sign-in to sign-out.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, nodeApp, remove, rights, use } from './nodeapp.mjs'
import { allow, domain, member, profile, signIn } from './people.mjs'
import { elsewhere } from './site.mjs'

// letIn walks a browser from the app to the app, and returns the session.
export async function letIn(app, page, who, { fresh = true, untick, ...options } = {}) {
  await page.goto(await app.start(who.handle, options))
  if (fresh) await signIn(page)
  await allow(page, { untick })
  await page.waitForURL(app.redirect + '**')
  return app.finish()
}

const wrote = ({ status, uri }, collection) => assert.ok(status === 200 && uri.includes(collection), String(status))
const refused = ({ status, error }) => assert.deepEqual({ status, error }, { status: 403, error: 'ScopeMissingError' })

for (const [kind, name] of [['confidential', 'alice'], ['public', 'bob'], ['loopback', 'carol']]) {
  test(`node, ${kind}`, async (t) => {
    const who = await member(name)
    const v = await profile(t)
    const app = await nodeApp(kind)
    const session = await letIn(app, v.page, who)
    assert.equal(session.sub, who.did)
    wrote(await create(session, 'net.perch-club.post'), 'net.perch-club.post')
    wrote(await create(session, 'net.perch-club.note'), 'net.perch-club.note')
    assert.equal((await remove(session, 'net.perch-club.note')).status, 200)
    refused(await remove(session, 'net.perch-club.post')) // it may only create
    refused(await create(session, 'app.bsky.feed.post'))
    refused(await use(session, 'com.atproto.identity.updateHandle', { handle: 'other' + domain }))
    refused(await use(session, 'app.bsky.actor.getPreferences'))

    const before = app.sessions.map.get(who.did).tokenSet
    const { scope } = await session.getTokenInfo(true)
    assert.equal(scope, rights)
    const now = app.sessions.map.get(who.did).tokenSet
    assert.notEqual(now.access_token, before.access_token)
    assert.notEqual(now.refresh_token, before.refresh_token)
    wrote(await create(session, 'net.perch-club.post'), 'net.perch-club.post')

    // Signing out ends the session at the server: a copy of the tokens with their key is of no use.
    const copy = await nodeApp(kind, { like: { ...app, sessions: memoryOf(app, who.did) } })
    const twin = await copy.client.restore(who.did, false)
    wrote(await create(twin, 'net.perch-club.post'), 'net.perch-club.post')
    await session.signOut()
    assert.equal(app.sessions.map.size, 0)
    assert.equal((await create(twin, 'net.perch-club.post')).status, 401)
    assert.deepEqual(copy.gone, ['TokenRefreshError']) // it has tried
    await assert.rejects(copy.client.restore(who.did))
  })
}

// memoryOf is a store with a copy of one session, as somebody has who has copied the app's database.
export function memoryOf(app, did) {
  const map = new Map([[did, structuredClone(app.sessions.map.get(did))]])
  return { map, get: async (k) => map.get(k), set: async (k, v) => void map.set(k, v), del: async (k) => void map.delete(k) }
}

test('node, transition scopes', async (t) => {
  const who = await member('dave')
  const v = await profile(t)
  const app = await nodeApp('confidential', { scope: 'atproto transition:generic transition:email transition:chat.bsky' })
  const session = await letIn(app, v.page, who)
  wrote(await create(session, 'net.perch-club.any'), 'net.perch-club.any')
  assert.equal((await use(session, 'app.bsky.actor.getPreferences')).status, 200)
  assert.equal((await use(session, 'com.atproto.server.getSession')).email, 'dave@example.com')
  refused(await use(session, 'com.atproto.identity.updateHandle', { handle: 'other' + domain }))
  for (const method of ['com.atproto.server.createAppPassword', 'com.atproto.server.deactivateAccount']) {
    const { status } = await use(session, method, { name: 'own' })
    assert.ok(status === 400 || status === 401 || status === 403, `${method}: ${status}`)
  }
  // What was unticked is not given, and is asked for again.
  const narrow = await letIn(await nodeApp('public', { scope: 'atproto transition:generic transition:email' }), v.page, who, {
    fresh: false, untick: ['transition:generic'],
  })
  assert.equal((await narrow.getTokenInfo(false)).scope, 'atproto transition:email')
  refused(await create(narrow, 'net.perch-club.any'))
})

test('node, a permission set of an author on the network', async (t) => {
  const who = await member('erin')
  const v = await profile(t)
  const set = process.env.PEERS_SET
  const app = await nodeApp('public', { scope: `atproto include:${set}` })
  await v.page.goto(await app.start(who.handle))
  await signIn(v.page)
  await v.page.waitForSelector('text=Write to the club') // the author's title
  await allow(v.page)
  await v.page.waitForURL(app.redirect + '**')
  const session = await app.finish()
  assert.equal((await session.getTokenInfo(true)).scope, 'atproto repo:net.perch-club.post?action=create')
  wrote(await create(session, 'net.perch-club.post'), 'net.perch-club.post')
  refused(await create(session, 'net.perch-club.note'))
  const unknown = await nodeApp('public', { scope: 'atproto include:net.perch-club.authNothing' })
  await assert.rejects(unknown.start(who.handle), /invalid_scope|cannot be found/)
})

for (const kind of ['public', 'loopback']) {
  for (const responseMode of ['query', 'form_post']) {
    test(`node, the ways back: ${kind}, ${responseMode}`, async (t) => {
      const who = await member('alice')
      const v = await profile(t)
      const app = await nodeApp(kind, { responseMode })
      const session = await letIn(app, v.page, who)
      wrote(await create(session, 'net.perch-club.post'), 'net.perch-club.post')
      await session.signOut()
      await v.page.goto(await app.start(who.handle))
      await v.page.click('button[name=decision][value=deny]')
      await v.page.waitForURL(app.redirect + '**')
      await assert.rejects(app.finish(), (e) => e.params.get('error') === 'access_denied')

      // An app may lead the browser on to another site of its own. Chromium holds that against the page where the way began, too.
      const onward = await nodeApp(kind, { responseMode, way: '/onward' })
      await v.page.goto(await onward.start(who.handle))
      await allow(v.page)
      await v.page.waitForURL(elsewhere)
      assert.equal((await onward.finish()).sub, who.did)
    })
  }
}
