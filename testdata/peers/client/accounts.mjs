// Signing up, in and out; sessions, app passwords, service tokens, preferences, names.
import assert from 'node:assert/strict'
import { verifyJwt } from '@atproto/xrpc-server'
import { describe, fails, freshName, ids, invitation, newAgent, raw, service, signUp } from './harness.mjs'

export default async (t, day) => {
  await t.test('the server describes itself', async () => {
    const data = await describe()
    assert.match(data.did, /^did:/)
    assert.ok(data.availableUserDomains.every((d) => d.startsWith('.')))
    assert.equal((await raw('/xrpc/_health')).status, 200)
  })

  await t.test('an account is made, with a DID whose document names it and this server', async () => {
    day.alice = await signUp('alice')
    day.bob = await signUp('bob')
    const { handle, did } = day.alice.account
    const data = await ids.did.resolveAtprotoData(did, true)
    assert.equal(data.handle, handle)
    assert.equal(new URL(data.pds).origin, new URL(service).origin)
    assert.match(data.signingKey, /^did:key:z/)
  })

  await t.test('handles and addresses are taken once, and reserved or malformed ones are refused by name', async () => {
    const { handle, email, password } = day.alice.account
    const domain = (await describe()).availableUserDomains[0]
    const code = await invitation()
    const create = (data) => newAgent().com.atproto.server.createAccount({ email: 'x@example.com', password, ...code, ...data })
    await fails(create({ handle }), 400, 'InvalidRequest', 'HandleNotAvailable')
    await fails(create({ handle: freshName('carol') + domain, email }), 400, 'InvalidRequest')
    await fails(create({ handle: `admin${domain}` }), 400, 'HandleNotAvailable')
    await fails(create({ handle: `a${domain}` }), 400, 'InvalidHandle')
    await fails(create({ handle: `${'a'.repeat(30)}${domain}` }), 400, 'InvalidHandle')
    await fails(create({ handle: `${freshName('bob')}.bsky.social` }), 400, 'UnsupportedDomain')
  })

  await t.test('an invite code serves as often as it says', async (t) => {
    const code = await invitation()
    if (!code.inviteCode) return t.skip('this server asks for none')
    const domain = (await describe()).availableUserDomains[0]
    const create = async (name, data) => {
      const local = freshName(name)
      const input = { handle: local + domain, email: `${local}@example.com`, password: 'correct horse', ...data }
      return newAgent().com.atproto.server.createAccount(input)
    }
    await create('dave', code)
    await fails(create('erin', code), 400, 'InvalidInviteCode')
    await fails(create('erin', { inviteCode: 'localhost-aaaaa-aaaaa' }), 400, 'InvalidInviteCode')
    await fails(create('erin'), 400, 'InvalidInviteCode')
  })

  await t.test('sign in by handle, DID and e-mail; a wrong password is refused', async () => {
    const { handle, did, email, password } = day.alice.account
    for (const identifier of [handle, handle.toUpperCase(), did, email]) {
      const agent = newAgent()
      const { data } = await agent.login({ identifier, password })
      assert.deepEqual([data.did, data.handle, data.email, data.active], [did, handle, email, true])
    }
    await fails(newAgent().login({ identifier: handle, password: 'wrong' }), 401, 'AuthenticationRequired')
    await fails(newAgent().login({ identifier: 'nobody.example.com', password }), 401, 'AuthenticationRequired')
  })

  await t.test('a session is resumed, refreshed, and ended', async () => {
    const { handle, did, password } = day.alice.account
    const agent = newAgent()
    await agent.login({ identifier: handle, password })
    const first = { ...agent.session }
    const resumed = newAgent()
    await resumed.resumeSession(first)
    assert.equal(resumed.session.did, did)
    const { data: who } = await resumed.com.atproto.server.getSession()
    assert.deepEqual([who.did, who.handle, who.active], [did, handle, true])

    await resumed.sessionManager.refreshSession()
    assert.notEqual(resumed.session.refreshJwt, first.refreshJwt)
    // Within the grace time the old refresh token serves once more, for clients that lost the answer.
    const late = newAgent()
    await late.resumeSession(first)
    assert.equal(late.session.did, did)

    const last = { ...resumed.session }
    await resumed.logout()
    const refresh = (jwt) => newAgent().com.atproto.server.refreshSession(undefined, { headers: { authorization: `Bearer ${jwt}` } })
    await fails(refresh(last.refreshJwt), 400, 'ExpiredToken')
    await fails(refresh(last.accessJwt), 400, 'InvalidToken')
  })

  await t.test('requests without, with broken and with unfit tokens are told apart', async () => {
    const session = (authorization) => newAgent().com.atproto.server.getSession(undefined, { headers: { authorization } })
    await fails(newAgent().com.atproto.server.getSession(), 401, 'AuthMissing')
    await fails(session('Bearer nonsense'), 400, 'InvalidToken')
    await fails(session(`Bearer ${day.alice.session.refreshJwt}`), 400, 'InvalidToken')
    const [head, body, sig] = day.alice.session.accessJwt.split('.')
    const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(body, 'base64url')), sub: day.bob.did })).toString('base64url')
    await fails(session(`Bearer ${head}.${forged}.${sig}`), 400, 'InvalidToken')
  })

  await t.test('app passwords sign in, are listed and revoked, and may not make others', async () => {
    const server = day.alice.com.atproto.server
    const { data: made } = await server.createAppPassword({ name: 'phone' })
    assert.match(made.password, /^[a-z0-9]{4}(-[a-z0-9]{4}){3}$/)
    const phone = newAgent()
    await phone.login({ identifier: day.alice.account.handle, password: made.password })
    await phone.post({ text: 'from the phone' })
    await fails(phone.com.atproto.server.createAppPassword({ name: 'more' }), 400, 'InvalidToken')
    const { data: list } = await server.listAppPasswords()
    assert.deepEqual(list.passwords.map((p) => p.name), ['phone'])
    await server.revokeAppPassword({ name: 'phone' })
    assert.deepEqual((await server.listAppPasswords()).data.passwords, [])
    await fails(newAgent().login({ identifier: day.alice.account.handle, password: made.password }), 401, 'AuthenticationRequired')
  })

  await t.test('a service token is signed by the account for one audience and method', async () => {
    const lxm = 'app.bsky.feed.getFeedSkeleton'
    const aud = 'did:web:feed.example.com'
    const { data } = await day.alice.com.atproto.server.getServiceAuth({ aud, lxm })
    const payload = await verifyJwt(data.token, aud, lxm, (iss, refresh) => ids.did.resolveAtprotoKey(iss, refresh))
    assert.equal(payload.iss, day.alice.did)
    const inTwoHours = Math.floor(Date.now() / 1000) + 7200
    await fails(day.alice.com.atproto.server.getServiceAuth({ aud, lxm, exp: inTwoHours }), 400, 'BadExpiration')
  })

  await t.test('preferences are kept as they are', async () => {
    await day.alice.setAdultContentEnabled(true)
    await day.alice.addSavedFeeds([{ type: 'timeline', value: 'following', pinned: true }])
    await day.alice.setPersonalDetails({ birthDate: new Date('1990-05-01T00:00:00Z').toISOString() })
    const prefs = await day.alice.getPreferences()
    assert.equal(prefs.moderationPrefs.adultContentEnabled, true)
    assert.equal(prefs.birthDate.getUTCFullYear(), 1990)
    assert.deepEqual(prefs.savedFeeds.map((f) => [f.type, f.value, f.pinned]), [['timeline', 'following', true]])
    const { data: mine } = await day.alice.app.bsky.actor.getPreferences()
    await day.alice.app.bsky.actor.putPreferences(mine)
    assert.deepEqual((await day.alice.app.bsky.actor.getPreferences()).data, mine)
    assert.deepEqual((await day.bob.app.bsky.actor.getPreferences()).data.preferences, [])
  })

  await t.test('names are resolved, and the account is described', async () => {
    const { handle, did } = day.alice.account
    const { data } = await newAgent().com.atproto.identity.resolveHandle({ handle })
    assert.equal(data.did, did)
    await fails(newAgent().com.atproto.identity.resolveHandle({ handle: freshName('no') + handle.slice(handle.indexOf('.')) }), 400, 'HandleNotFound')
    for (const repo of [handle, did]) {
      const { data } = await newAgent().com.atproto.repo.describeRepo({ repo })
      assert.deepEqual([data.did, data.handle, data.handleIsCorrect, data.didDoc.id], [did, handle, true, did])
      assert.ok(data.collections.includes('app.bsky.feed.post'))
    }
    const { data: status } = await day.alice.com.atproto.server.checkAccountStatus()
    assert.deepEqual([status.activated, status.validDid], [true, true])
    const { data: codes } = await day.alice.com.atproto.server.getAccountInviteCodes()
    assert.ok(Array.isArray(codes.codes))
  })
}
