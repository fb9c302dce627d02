// Moves an account from host to host with the standard calls, in the order of the public guide, and compares everything after each move.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AtpAgent } from '@atproto/api'
import { TID } from '@atproto/common-web'
import { IdResolver } from '@atproto/identity'
import { verifyRepoCar } from '@atproto/repo'

const hosts = process.env.PEERS_HOSTS.split(',')
const mailURL = process.env.PEERS_MAIL_URL
const ids = new IdResolver({ plcUrl: process.env.PEERS_PLC_URL, fetch: globalThis.fetch })
const size = Number(process.env.PEERS_MOVE_RECORDS ?? 300)

const now = () => new Date().toISOString()
const didOf = async (agent) => (await agent.com.atproto.server.describeServer()).data.did

/** codeFor waits for the mail to an address and gives the code in it. */
const codeFor = async (address) => {
  for (let i = 0; i < 150; i++) {
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
    blobs.set(cid, Buffer.from(data).toString('base64'))
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
  for (let i = 0; i < size; i++) {
    const kind = ['app.bsky.feed.post', 'app.bsky.feed.like', 'app.bsky.graph.follow'][i % 3]
    const ref = { uri: `at://${subject}/app.bsky.feed.post/${i}`, cid: 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a' }
    const value = {
      'app.bsky.feed.post': { text: `post ${i} äöü 🦜`, createdAt: now() },
      'app.bsky.feed.like': { subject: ref, createdAt: now() },
      'app.bsky.graph.follow': { subject: `did:web:friend${i}.example.com`, createdAt: now() },
    }[kind]
    writes.push({ $type: 'com.atproto.repo.applyWrites#create', collection: kind, rkey: TID.nextStr(), value: { $type: kind, ...value } })
  }
  for (let i = 0; i < writes.length; i += 100) await agent.com.atproto.repo.applyWrites({ repo, writes: writes.slice(i, i + 100) })
  for (let i = 0; i < 12; i++) {
    const { data } = await agent.com.atproto.repo.uploadBlob(Buffer.from(`blob ${i} `.repeat(1 + i * 2000)), { encoding: 'text/plain' })
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

test('an account goes out of the reference, from Perch to Perch, and back to a reference', async (t) => {
  const name = `mover-${Math.random().toString(36).slice(2, 8)}`
  const account = { handle: `${name}.test`, email: `${name}@example.com`, password: 'a long enough password' }
  let agent = new AtpAgent({ service: hosts[0] })
  await agent.createAccount(account)
  await fill(agent)
  let before = await allOf(agent)
  assert.equal(before.blobs.size, 12)

  for (const url of hosts.slice(1)) {
    await t.test(`to ${url}`, async () => {
      const old = agent
      agent = await move(old, url, account)
      const { data: created } = await agent.com.atproto.repo.createRecord({
        repo: agent.assertDid,
        collection: 'app.bsky.feed.post',
        record: { $type: 'app.bsky.feed.post', text: `hello from ${url}`, createdAt: now() },
      })
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
