// Thieves, lost answers and wrong clocks, with the stock client for Node whose requests are looked at, repeated and changed on their way.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, nodeApp } from './nodeapp.mjs'
import { letIn, memoryOf } from './node.mjs'
import { call, member, pds, profile } from './people.mjs'

const post = 'net.perch-club.post'
const tokenURL = pds + '/oauth/token'

// One browser for all, in which the owner is signed in.
let v
let fresh = true

// begin lets a new app in.
async function begin(kind = 'public') {
  v ??= await profile()
  const app = await nodeApp(kind)
  const who = await member('mallory')
  const session = await letIn(app, v.page, who, { fresh })
  fresh = false
  return { app, who, session }
}

const last = (app, url) => app.requests.findLast((r) => r.url === url)
const repeat = (r) => fetch(r.url, { method: r.method, headers: r.headers, body: r.body || undefined })
const errorOf = async (response) => (await response.json()).error

// twin is a second process with the same session, which shares no lock with the first.
async function twin(app, did, change = (s) => s) {
  const sessions = memoryOf(app, did)
  sessions.map.set(did, change(sessions.map.get(did)))
  const copy = await nodeApp(app.kind, { like: { ...app, sessions } })
  return { copy, session: await copy.client.restore(did, false) }
}

test('attack: codes and proofs are good once', async () => {
  const { app, session } = await begin()
  const request = app.requests.findLast((r) => r.url === tokenURL && r.body.includes('authorization_code'))
  assert.equal((await create(session, post)).status, 200)

  const use = last(app, pds + '/xrpc/com.atproto.repo.createRecord')
  const again = await repeat(use)
  assert.equal(again.status, 401)
  assert.match(again.headers.get('www-authenticate'), /invalid_dpop_proof|use_dpop_nonce/)
  const elsewhere = await fetch(pds + '/xrpc/com.atproto.server.getSession', { headers: { authorization: use.headers.authorization, dpop: use.headers.dpop } })
  assert.equal(elsewhere.status, 401)
  const bare = await fetch(pds + '/xrpc/com.atproto.server.getSession', { headers: { authorization: use.headers.authorization } })
  assert.equal(bare.status, 401)
  const bearer = await fetch(pds + '/xrpc/com.atproto.server.getSession', { headers: { authorization: use.headers.authorization.replace('DPoP', 'Bearer') } })
  assert.ok([400, 401].includes(bearer.status), String(bearer.status))
  assert.equal((await create(session, post)).status, 200) // nothing of this has harmed the owner

  // The same request for tokens again, word by word, is a used proof.
  assert.equal(await errorOf(await repeat(request)), 'invalid_dpop_proof')
  assert.equal((await create(session, post)).status, 200)
})

test('attack: a code that is brought twice ends what came of it', async () => {
  const { app, session } = await begin()
  const { body } = app.requests.findLast((r) => r.url === tokenURL && r.body.includes('authorization_code'))
  const proof = await makeProof(session.server.dpopKey, await nonce())
  const answer = await fetch(tokenURL, { method: 'POST', headers: { dpop: proof, 'content-type': 'application/x-www-form-urlencoded' }, body: formOf(body) })
  assert.equal(answer.status, 400)
  assert.equal(await errorOf(answer), 'invalid_grant')
  assert.equal((await create(session, post)).status, 401)
  assert.ok(app.gone.includes('TokenRefreshError')) // the owner has to sign in again
})

const formOf = (body) => (body.startsWith('{') ? new URLSearchParams(JSON.parse(body)) : body)

// nonce asks the server for the one of now.
const nonce = async () => (await fetch(pds + '/oauth/par', { method: 'POST', body: new URLSearchParams({}) })).headers.get('dpop-nonce')

const makeProof = (key, nonce) =>
  key.createJwt(
    { alg: 'ES256', typ: 'dpop+jwt', jwk: key.bareJwk },
    { jti: crypto.randomUUID(), htm: 'POST', htu: tokenURL, iat: Math.floor(Date.now() / 1000), nonce },
  )

test('attack: nonces are lost, or are others', async () => {
  const { app, session } = await begin('confidential')
  const proofs = () => app.requests.filter((r) => r.headers.dpop).length
  for (const nonce of [undefined, 'gone']) {
    for (const use of [() => create(session, post), () => session.getTokenInfo(true)]) {
      if (nonce) for (const origin of app.nonces.map.keys()) app.nonces.map.set(origin, nonce)
      else app.nonces.map.clear()
      const before = proofs()
      const { status = 200 } = await use()
      assert.equal(status, 200)
      assert.equal(proofs() - before, 2) // the server has told the new one
    }
  }
})

test('attack: the clock of the app is off by half a minute', async (t) => {
  const Real = Date
  t.after(() => (globalThis.Date = Real))
  for (const skew of [-30_000, 30_000]) {
    globalThis.Date = class extends Real {
      constructor(...args) { args.length ? super(...args) : super(Real.now() + skew) }
      static now() { return Real.now() + skew }
    }
    const { session } = await begin('confidential') // assertions have times, too
    assert.equal((await create(session, post)).status, 200)
    assert.ok((await session.getTokenInfo(true)).scope)
    await session.signOut()
    globalThis.Date = Real
  }
})

test('attack: a thief with the tokens, and another key', async () => {
  const { app, who, session } = await begin()
  const other = await begin() // the thief has a session of his own in the same app: his key is genuine
  const { dpopJwk } = other.app.sessions.map.get(who.did)
  const { copy, session: stolen } = await twin(app, who.did, (s) => ({ ...s, dpopJwk }))
  assert.equal((await create(stolen, post)).status, 401)
  assert.ok(copy.gone.includes('TokenRefreshError')) // he has tried to refresh, and is out
  assert.equal((await create(session, post)).status, 200) // the owner stays
  assert.ok((await session.getTokenInfo(true)).scope)
  assert.equal((await create(session, post)).status, 200)
})

test('attack: a thief with the tokens and their key', async () => {
  const { app, who, session } = await begin()
  const { copy, session: stolen } = await twin(app, who.did)
  assert.ok((await stolen.getTokenInfo(true)).scope)
  assert.ok((await stolen.getTokenInfo(true)).scope) // he is ahead of the owner
  await assert.rejects(session.getTokenInfo(true), (e) => e.constructor.name === 'TokenRefreshError') // who brings what was used, and learns of it
  assert.ok(app.gone.includes('TokenRefreshError'))
  assert.equal((await create(stolen, post)).status, 401) // the thief is out, too
  assert.ok(copy.gone.includes('TokenRefreshError'))
})

test('attack: two processes refresh at once, and answers are lost', async () => {
  const { app, who, session } = await begin('confidential')
  const { copy, session: second } = await twin(app, who.did)
  const both = await Promise.all([session.getTokenInfo(true), second.getTokenInfo(true)])
  assert.equal(both.length, 2)
  const [a, b] = [app, copy].map((x) => x.sessions.map.get(who.did).tokenSet)
  assert.equal(a.refresh_token, b.refresh_token) // they hold the same tokens
  assert.equal((await create(session, post)).status, 200)
  assert.equal((await create(second, post)).status, 200)

  app.intercept = (request, response) => {
    if (request.url !== tokenURL || response.status !== 200) return response
    app.intercept = undefined
    throw new Error('the connection was lost')
  }
  await assert.rejects(session.getTokenInfo(true), (e) => e.constructor.name === 'FetchRequestError')
  assert.ok((await session.getTokenInfo(true)).scope)
  assert.equal((await create(session, post)).status, 200)
  assert.deepEqual(app.gone, [])
})

test('attack: an assertion is good once, and for one server', async () => {
  const { app, session } = await begin('confidential')
  await session.getTokenInfo(true)
  const used = app.requests.findLast((r) => r.url === tokenURL)
  const form = new URLSearchParams(formOf(used.body))
  assert.ok(form.get('client_assertion'))
  const proof = await makeProof(session.server.dpopKey, await nonce())
  const answer = await fetch(tokenURL, { method: 'POST', headers: { dpop: proof }, body: form })
  assert.equal(await errorOf(answer), 'invalid_client')
  assert.ok((await session.getTokenInfo(true)).scope)

  // Without the assertion the refresh token is of no use.
  form.delete('client_assertion')
  form.delete('client_assertion_type')
  const bare = await fetch(tokenURL, { method: 'POST', headers: { dpop: await makeProof(session.server.dpopKey, await nonce()) }, body: form })
  assert.equal(await errorOf(bare), 'invalid_client')
})

test('attack: what people upload runs on no page', async (t) => {
  const who = await member('mallory')
  const auth = { authorization: 'Bearer ' + who.accessJwt }
  const sent = await fetch(pds + '/xrpc/com.atproto.repo.uploadBlob', { method: 'POST', headers: { ...auth, 'content-type': 'text/javascript' }, body: 'window.owned = true' })
  const { blob } = await sent.json()
  const put = await call('com.atproto.repo.createRecord', { repo: who.did, collection: post, record: { $type: post, blob } }, who.accessJwt)
  assert.ok(put.uri)
  const script = `${pds}/xrpc/com.atproto.sync.getBlob?did=${who.did}&cid=${blob.ref.$link}`
  assert.equal((await fetch(script)).headers.get('content-type'), 'text/javascript')
  const { context, page } = await profile() // which complains, as it should
  t.after(() => context.close())
  for (const path of ['/account/sign-in', '/nothing-here']) {
    await page.goto(pds + path)
    assert.ok(await page.evaluate(() => document.documentElement.classList.contains('scripted')), 'our own script does not run')
    const load = (src) => new Promise((done) => {
      document.head.append(Object.assign(document.createElement('script'), { src, onload: () => done('loaded'), onerror: () => done('refused') }))
    })
    assert.equal(await page.evaluate(load, script), 'refused')
    assert.equal(await page.evaluate(() => window.owned), undefined)
  }
})
