// The day once more, as a follower saw it.
import assert from 'node:assert/strict'
import { created, journal, newAgent, violations } from './harness.mjs'
import { Recorder, commitsOf } from './recorder.mjs'

export default async (t, day) => {
  const { recorder } = day

  await t.test('every acknowledged commit came by, in order, with its operations proved', async () => {
    const last = journal.at(-1)
    await recorder.until(`the last commit, ${last.cid}`, (e) => e.commit?.toString() === last.cid)
    const seen = commitsOf(recorder.events)
    const from = journal.findIndex((c) => c.cid === seen[0].cid)
    assert.ok(from >= 0)
    const expected = journal.slice(from)
    const name = ({ did, rev, cid }) => `${did} ${rev} ${cid}`
    assert.deepEqual(seen.map(name), expected.map(name))
    for (const [i, { ops }] of expected.entries()) {
      const left = [...seen[i].ops]
      for (const op of ops) {
        const at = left.findIndex((o) => o.path === op.path && o.cid === op.cid && (!op.action || o.action === op.action))
        assert.ok(at >= 0, `${op.action} ${op.path} is not in ${JSON.stringify(seen[i].ops)}`)
        left.splice(at, 1)
      }
      // What is left is the record that a second like, repost, follow or block has replaced.
      assert.ok(left.every((o) => o.action === 'delete'), JSON.stringify(left))
    }
  })

  await t.test('sequence numbers rise, and the consumer had no complaint', () => {
    const seqs = recorder.events.map((e) => e.seq)
    assert.ok(seqs.every((seq, i) => i === 0 || seq >= seqs[i - 1]))
    assert.deepEqual(recorder.errors, [])
  })

  await t.test('accounts announce themselves before they write', () => {
    for (const did of created.slice(1)) {
      const mine = recorder.events.filter((e) => e.did === did)
      const first = (kind) => mine.findIndex((e) => e.event === kind)
      const write = mine.findIndex((e) => e.commit)
      assert.ok(first('identity') >= 0 && first('account') >= 0, did)
      assert.ok(write === -1 || (first('identity') < write && first('account') < write), did)
      assert.equal(mine[first('account')].active, true)
    }
  })

  await t.test('the same again from a cursor', async () => {
    const start = recorder.events[0].seq
    const again = new Recorder(start)
    try {
      const last = recorder.events.at(-1)
      await again.until(`seq ${last.seq}`, (e) => e.seq === last.seq)
      const name = (e) => `${e.seq} ${e.event} ${e.did} ${e.commit} ${e.uri} ${e.cid}`
      const count = recorder.events.filter((e) => e.seq === last.seq).length
      await again.until('all of the last commit', () => again.events.filter((e) => e.seq === last.seq).length >= count)
      assert.deepEqual(again.events.map(name), recorder.events.filter((e) => e.seq > start).map(name))
      assert.deepEqual(again.errors, [])
    } finally {
      await again.stop()
    }
  })

  await t.test('what was replayed is what the repositories hold', async () => {
    for (const { did } of [day.alice, day.bob, day.carol]) {
      const held = new Map()
      for (const e of recorder.events.filter((e) => e.did === did && e.uri)) {
        const path = `${e.collection}/${e.rkey}`
        e.event === 'delete' ? held.delete(path) : held.set(path, e.cid.toString())
      }
      const { collections } = (await newAgent().com.atproto.repo.describeRepo({ repo: did })).data
      const listed = new Map()
      for (const collection of collections) {
        let cursor
        do {
          const { data } = await newAgent().com.atproto.repo.listRecords({ repo: did, collection, cursor })
          for (const { uri, cid } of data.records) listed.set(uri.split('/').slice(3).join('/'), cid)
          cursor = data.cursor
        } while (cursor)
      }
      assert.deepEqual([...held].sort(), [...listed].sort())
    }
  })

  await t.test('no answer of the day was outside its lexicon, and none was a 500', () => {
    assert.deepEqual(violations, [])
  })
}
