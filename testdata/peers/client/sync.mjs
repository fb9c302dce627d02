// What the network reads: whole repositories, proofs of single records, states; verified by @atproto/repo.
import assert from 'node:assert/strict'
import { ipldToJson } from '@atproto/common-web'
import { cborToLexRecord, cidForRecord, readCar, readCarWithRoot, verifyProofs, verifyRecords, verifyRepoCar } from '@atproto/repo'
import { lexToJson } from '@atproto/api'
import { CID } from 'multiformats/cid'
import { fails, ids, newAgent, raw, skipOnReference, sortedJSON } from './harness.mjs'

export default async (t, day) => {
  const sync = newAgent().com.atproto.sync
  const keyOf = (did) => ids.did.resolveAtprotoKey(did, true)

  // listed gives all records of a repository as listRecords shows them: path -> {cid, value}.
  const listed = async (repo) => {
    const out = new Map()
    const { collections } = (await newAgent().com.atproto.repo.describeRepo({ repo })).data
    for (const collection of collections) {
      let cursor
      do {
        const { data } = await newAgent().com.atproto.repo.listRecords({ repo, collection, limit: 100, cursor })
        for (const { uri, cid, value } of data.records) out.set(uri.split('/').slice(3).join('/'), { cid, value })
        cursor = data.cursor
      } while (cursor)
    }
    return out
  }

  await t.test('a repository is exported whole: signature, tree, and every record as it is listed', async () => {
    for (const { did } of [day.alice, day.bob, day.carol]) {
      const { data: car, headers } = await sync.getRepo({ did })
      assert.equal(headers['content-type'], 'application/vnd.ipld.car')
      const bytes = new Uint8Array(car)
      const { creates, commit } = await verifyRepoCar(bytes, did, await keyOf(did))
      const latest = (await sync.getLatestCommit({ did })).data
      assert.deepEqual([commit.cid.toString(), commit.rev], [latest.cid, latest.rev])
      const { blocks } = await readCarWithRoot(bytes)
      const records = await listed(did)
      assert.equal(creates.length, records.size)
      for (const { collection, rkey, cid } of creates) {
        const { cid: want, value } = records.get(`${collection}/${rkey}`)
        assert.equal(cid.toString(), want)
        assert.equal((await cidForRecord(cborToLexRecord(blocks.get(cid)))).toString(), want)
        assert.equal(sortedJSON(ipldToJson(cborToLexRecord(blocks.get(cid)))), sortedJSON(lexToJson(value)))
      }
    }
  })

  await t.test('an export since a revision holds what came after', async () => {
    const did = day.carol.did
    const since = (await sync.getLatestCommit({ did })).data.rev
    const { uri, cid } = await day.carol.post({ text: 'news' })
    const { data } = await sync.getRepo({ did, since })
    const { root, blocks } = await readCarWithRoot(new Uint8Array(data))
    assert.equal(root.toString(), (await sync.getLatestCommit({ did })).data.cid)
    assert.ok(blocks.has(CID.parse(cid)), uri)
  })

  await t.test('a single record is proved, and so is the absence of one', async () => {
    const did = day.alice.did
    const rkey = day.post.uri.split('/').at(-1)
    const collection = 'app.bsky.feed.post'
    const proof = new Uint8Array((await sync.getRecord({ did, collection, rkey })).data)
    const key = await keyOf(did)
    const [{ record, ...at }] = await verifyRecords(proof, did, key)
    assert.deepEqual(at, { collection, rkey })
    assert.equal((await cidForRecord(record)).toString(), day.post.cid)
    const claim = { collection, rkey, cid: CID.parse(day.post.cid) }
    assert.equal((await verifyProofs(proof, [claim], did, key)).verified.length, 1)

    const absent = { collection, rkey: 'absent', cid: null }
    const denial = new Uint8Array((await sync.getRecord({ did, collection, rkey: 'absent' })).data)
    assert.equal((await verifyProofs(denial, [absent], did, key)).verified.length, 1)
  })

  await t.test('blocks are given by CID', async () => {
    const did = day.alice.did
    const { cid } = (await sync.getLatestCommit({ did })).data
    const { data } = await sync.getBlocks({ did, cids: [cid, day.post.cid] })
    const { blocks } = await readCar(new Uint8Array(data))
    assert.ok(blocks.has(CID.parse(cid)) && blocks.has(CID.parse(day.post.cid)))
  })

  await t.test('states, and older names of methods', async () => {
    const did = day.alice.did
    const { data: status } = await sync.getRepoStatus({ did })
    const { data: latest } = await sync.getLatestCommit({ did })
    assert.deepEqual(status, { did, active: true, rev: latest.rev })
    assert.equal((await sync.getHead({ did })).data.root, latest.cid)
    const checkout = new Uint8Array((await sync.getCheckout({ did })).data)
    assert.equal((await verifyRepoCar(checkout, did, await keyOf(did))).commit.cid.toString(), latest.cid)
    const nobody = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
    for (const method of ['getRepo', 'getLatestCommit', 'getRepoStatus', 'listBlobs']) {
      await fails(sync[method]({ did: nobody }), 400, 'RepoNotFound')
    }
  })

  await t.test('the repositories that hold a collection', skipOnReference('has no listReposByCollection'), async () => {
    const { data } = await sync.listReposByCollection({ collection: 'com.example.perch.thing' })
    assert.ok(data.repos.some((r) => r.did === day.alice.did))
    assert.ok(!data.repos.some((r) => r.did === day.carol.did))
  })

  await t.test('compressed answers are the same', async () => {
    const path = `/xrpc/com.atproto.repo.listRecords?repo=${day.carol.did}&collection=app.bsky.feed.post&limit=100`
    const texts = await Promise.all(['identity', 'gzip'].map(async (coding) => (await raw(path, { headers: { 'accept-encoding': coding } })).text()))
    assert.equal(texts[0], texts[1])
  })
}
