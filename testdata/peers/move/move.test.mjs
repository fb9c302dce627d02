// Moves an account from host to host, with the standard calls in the order of the public guide or with the job of the server that it comes to, and compares
// everything after each move; also with what a relay knows, if there is one.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AtpAgent } from '@atproto/api'
import { TID } from '@atproto/common-web'
import { IdResolver } from '@atproto/identity'
import { verifyRepoCar } from '@atproto/repo'
import { Firehose } from '@atproto/sync'

const hosts = process.env.PEERS_HOSTS.split(',')
const mailURL = process.env.PEERS_MAIL_URL
const ids = new IdResolver({ plcUrl: process.env.PEERS_PLC_URL, fetch: globalThis.fetch })
const kinds = process.env.PEERS_KINDS?.split(',') ?? []
const byJob = process.env.PEERS_MOVE_BY === 'job'
const relay = process.env.PEERS_RELAY_URL
const ownHandle = process.env.PEERS_OWN_HANDLE
const count = (name, otherwise) => Number(process.env[name] || otherwise)
const size = { records: count('PERCH_MOVE_RECORDS', 300), follows: count('PERCH_MOVE_FOLLOWS', 100), blobs: count('PERCH_MOVE_BLOBS', 12) }

const now = () => new Date().toISOString()
const didOf = async (agent) => (await agent.com.atproto.server.describeServer()).data.did

/** codeFor waits for the mail to an address and gives the code in it. */
const codeFor = async (address) => {
  for (let i = 0; i < 600; i++) {
    const res = await fetch(`${mailURL}/${address}`)
    if (res.ok) {
      const text = (await res.text()).replace(/=\r?\n/g, '')
      const code = /\b([A-Z2-7]{5}-[A-Z2-7]{5})\b/.exec(text)
      assert.ok(code, `no code in: ${text}`)
      return code[1]
    }
    await sleep(100)
  }
  assert.fail(`no mail to ${address}`)
}

/** allOf gives everything of an account that must not change by a move. */
const allOf = async (agent) => {
  const did = agent.assertDid
  const { data: car } = await agent.com.atproto.sync.getRepo({ did })
  const { creates, commit } = await verifyRepoCar(new Uint8Array(car), did, await ids.did.resolveAtprotoKey(did, true))
  const records = new Map(creates.map(({ collection, rkey, cid }) => [`${collection}/${rkey}`, cid.toString()]))
  const blobs = new Map()
  for (const cid of await blobsOf(agent, did)) {
    const { data } = await agent.com.atproto.sync.getBlob({ did, cid })
    blobs.set(cid, createHash('sha256').update(data).digest('hex'))
  }
  const { preferences } = (await agent.app.bsky.actor.getPreferences()).data
  return { did, rev: commit.rev, records, blobs, preferences }
}

const blobsOf = async (agent, did) => {
  const cids = []
  let cursor
  do {
    const { data } = await agent.com.atproto.sync.listBlobs({ did, cursor, limit: 500 })
    cids.push(...data.cids)
    cursor = data.cursor
  } while (cursor)
  return cids.sort()
}

/** fill gives a new account records of several kinds, blobs and preferences. */
const fill = async (agent) => {
  const repo = agent.assertDid
  const subject = 'did:plc:ewvi7nxzyoun6zhxrhs64oiz'
  const writes = []
  for (let i = 0; i < size.records - size.blobs; i++) {
    const kind = i < size.follows ? 'app.bsky.graph.follow' : ['app.bsky.feed.post', 'app.bsky.feed.like'][i % 2]
    const ref = { uri: `at://${subject}/app.bsky.feed.post/${i}`, cid: 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a' }
    const value = {
      'app.bsky.feed.post': { text: `post ${i} äöü 🦜`, createdAt: now() },
      'app.bsky.feed.like': { subject: ref, createdAt: now() },
      'app.bsky.graph.follow': { subject: `did:web:friend${i}.example.com`, createdAt: now() },
    }[kind]
    writes.push({ $type: 'com.atproto.repo.applyWrites#create', collection: kind, rkey: TID.nextStr(), value: { $type: kind, ...value } })
  }
  for (let i = 0; i < writes.length; i += 100) await agent.com.atproto.repo.applyWrites({ repo, writes: writes.slice(i, i + 100) })
  for (let i = 0; i < size.blobs; i++) {
    const bytes = Buffer.from(`blob ${i} `.repeat(1 + (i % 40) * 2000))
    const { data } = await agent.com.atproto.repo.uploadBlob(bytes, { encoding: 'text/plain' })
    await agent.com.atproto.repo.createRecord({ repo, collection: 'com.example.file', record: { $type: 'com.example.file', blob: data.blob, at: i } })
  }
  await agent.app.bsky.actor.putPreferences({
    preferences: [
      { $type: 'app.bsky.actor.defs#adultContentPref', enabled: false },
      { $type: 'app.bsky.actor.defs#savedFeedsPrefV2', items: [{ id: 'x', type: 'timeline', value: 'following', pinned: true }] },
    ],
  })
}

/** move takes the account of an agent to another host and gives the agent there. */
const move = async (from, url, account) => {
  const did = from.assertDid
  const to = new AtpAgent({ service: url })
  const { token } = (await from.com.atproto.server.getServiceAuth({ aud: await didOf(to), lxm: 'com.atproto.server.createAccount' })).data
  await to.com.atproto.server.createAccount(
    { did, handle: account.handle, email: account.email, password: account.password },
    { headers: { authorization: `Bearer ${token}` }, encoding: 'application/json' },
  )
  await to.login({ identifier: did, password: account.password })
  assert.equal(to.session.active, false)

  const { data: car } = await from.com.atproto.sync.getRepo({ did })
  await to.com.atproto.repo.importRepo(new Uint8Array(car), { encoding: 'application/vnd.ipld.car' })
  let cursor
  do {
    const { data } = await to.com.atproto.repo.listMissingBlobs({ cursor, limit: 5 })
    for (const { cid } of data.blobs) {
      const blob = await from.com.atproto.sync.getBlob({ did, cid })
      await to.com.atproto.repo.uploadBlob(blob.data, { encoding: blob.headers['content-type'] })
    }
    cursor = data.cursor
  } while (cursor)
  await to.app.bsky.actor.putPreferences((await from.app.bsky.actor.getPreferences()).data)

  const before = (await to.com.atproto.server.checkAccountStatus()).data
  assert.deepEqual([before.activated, before.validDid, before.importedBlobs], [false, false, before.expectedBlobs])

  const credentials = (await to.com.atproto.identity.getRecommendedDidCredentials()).data
  await from.com.atproto.identity.requestPlcOperationSignature()
  const { operation } = (await from.com.atproto.identity.signPlcOperation({ token: await codeFor(account.email), ...credentials })).data
  await to.com.atproto.identity.submitPlcOperation({ operation })
  assert.equal((await to.com.atproto.server.checkAccountStatus()).data.validDid, true)
  await to.com.atproto.server.activateAccount()
  await from.com.atproto.server.deactivateAccount({})
  return to
}

/** moveByJob has a host do it by itself: the new one fetch the account, or the old one, if worker is that, bring it. */
const moveByJob = async (from, url, account, worker) => {
  const did = from.assertDid
  const ask = async (action, more) => {
    const res = await fetch(`${worker}/perch/migrate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Basic ${Buffer.from('admin:admin').toString('base64')}` },
      body: JSON.stringify({ account: did, action, ...more }),
    })
    assert.ok(res.ok, `${action}: ${res.status} ${res.ok || (await res.text())}`)
    return (await res.json()).migration
  }
  const until = async (done) => {
    for (;;) {
      const st = await ask('show')
      if (done(st)) return st
      await sleep(100)
    }
  }
  const begin = worker === url ? ['begin', { password: account.password }] : ['out', { to: url }]
  await ask(begin[0], { newPassword: account.password, ...begin[1] })
  await until((st) => st.needs === 'code')
  await ask('code', { code: await codeFor(account.email) })
  const { report } = await until((st) => st.state === 'done')
  assert.deepEqual([report.lost, report.notes], [undefined, undefined])
  const to = new AtpAgent({ service: url })
  await to.login({ identifier: did, password: account.password })
  return to
}

/** commits are the CIDs of commits on the relay's firehose; each is verified by @atproto/sync. */
const watchRelay = (t) => {
  const commits = new Set()
  const firehose = new Firehose({
    service: relay.replace(/^http/, 'ws'), idResolver: ids, unauthenticatedHandles: true,
    handleEvent: (event) => event.commit && commits.add(event.commit.toString()),
    onError: (err) => t.diagnostic(`firehose: ${err} ${err.cause ?? ''}`),
  })
  firehose.start()
  t.after(() => firehose.destroy())
  return commits
}

/** checkRelay waits until the relay has passed on a commit, and sees that it is where the account stands for it. */
const checkRelay = async (commits, did, commit) => {
  for (let i = 0; i < 600 && !commits.has(commit.cid); i++) await sleep(100)
  assert.ok(commits.has(commit.cid), 'the relay does not pass on what is posted after the move')
  const ask = async (method) => (await fetch(`${relay}/xrpc/com.atproto.sync.${method}?did=${did}`)).json()
  const status = await ask('getRepoStatus')
  assert.deepEqual([status.active, status.status], [true, undefined], JSON.stringify(status))
  const head = await ask('getLatestCommit')
  assert.deepEqual([head.cid, head.rev], [commit.cid, commit.rev])
}

test('an account goes out of the reference, from Perch to Perch, and back to a reference', async (t) => {
  const name = `mover-${Math.random().toString(36).slice(2, 8)}`
  const account = { handle: name + (process.env.PEERS_HANDLE_DOMAIN ?? '.test'), email: `${name}@example.com`, password: 'a long enough password' }
  let agent = new AtpAgent({ service: hosts[0] })
  await agent.createAccount(account)
  if (ownHandle) {
    await fetch(`${process.env.PEERS_OWN_HANDLE_URL}/${ownHandle}`, { method: 'POST', body: agent.assertDid })
    await agent.com.atproto.identity.updateHandle({ handle: ownHandle })
    account.handle = ownHandle
  }
  const passedOn = relay && watchRelay(t)
  await fill(agent)
  let before = await allOf(agent)
  assert.equal(before.blobs.size, size.blobs)
  assert.equal(before.records.size, size.records)

  for (const [i, url] of hosts.slice(1).entries()) {
    await t.test(`to ${url}`, async (t) => {
      const old = agent
      const began = Date.now()
      const job = byJob && [url, hosts[i]].find((host) => kinds[hosts.indexOf(host)] === 'perch')
      agent = await (job ? moveByJob : move)(old, url, account, job)
      t.diagnostic(`${job ? 'job' : 'standard calls'}: ${kinds[i]} to ${kinds[i + 1]} in ${(Date.now() - began) / 1000} s`)
      const { data: created } = await agent.com.atproto.repo.createRecord({
        repo: agent.assertDid,
        collection: 'app.bsky.feed.post',
        record: { $type: 'app.bsky.feed.post', text: `hello from ${url}`, createdAt: now() },
      })
      if (relay) await checkRelay(passedOn, agent.assertDid, created.commit)
      assert.ok(created.commit.rev > before.rev, 'rev does not rise')
      before.records.set(created.uri.split('/').slice(3).join('/'), created.cid)
      const after = await allOf(agent)
      assert.deepEqual(new Map([...after.records].sort()), new Map([...before.records].sort()))
      assert.deepEqual(after.blobs, before.blobs)
      assert.deepEqual(after.preferences, before.preferences)
      assert.equal(after.did, before.did)
      const doc = await ids.did.resolveAtprotoData(after.did, true)
      assert.deepEqual([doc.pds, doc.handle], [url, account.handle])
      await assert.rejects(old.com.atproto.repo.createRecord({
        repo: after.did, collection: 'app.bsky.feed.post', record: { $type: 'app.bsky.feed.post', text: 'at the old host', createdAt: now() },
      }))
      before = after
    })
  }
})
