// 250 records, page by page, both ways.
import assert from 'node:assert/strict'
import { TID } from '@atproto/common-web'
import { newAgent, signUp } from './harness.mjs'

const collection = 'app.bsky.feed.post'
const count = 250

export default async (t, day) => {
  day.carol = await signUp('carol')
  const repo = day.carol.did
  const keys = Array.from({ length: count }, () => TID.nextStr())
  const create = (rkey, i) => ({
    $type: 'com.atproto.repo.applyWrites#create',
    collection,
    rkey,
    value: { $type: collection, text: `number ${i}`, createdAt: new Date(1.7e12 + i).toISOString() },
  })

  await t.test('they are written in batches of up to 200', async () => {
    const writes = keys.map(create)
    await day.carol.com.atproto.repo.applyWrites({ repo, writes: writes.slice(0, 200) })
    await day.carol.com.atproto.repo.applyWrites({ repo, writes: writes.slice(200) })
  })

  // walk reads all pages and gives the keys in order.
  const walk = async (params) => {
    const out = []
    let cursor
    for (let pages = 0; ; pages++) {
      assert.ok(pages <= count + 1, 'the pages do not end')
      const { data } = await newAgent().com.atproto.repo.listRecords({ repo, collection, cursor, ...params })
      assert.ok(data.records.length <= params.limit)
      for (const { uri, value } of data.records) {
        const rkey = uri.split('/').at(-1)
        assert.equal(value.text, `number ${keys.indexOf(rkey)}`)
        out.push(rkey)
      }
      cursor = data.cursor
      if (!cursor) return out
    }
  }

  await t.test('newest first, in pages of 100, 33 and 1 less than all', async () => {
    for (const limit of [100, 33]) assert.deepEqual(await walk({ limit }), [...keys].reverse())
  })

  await t.test('oldest first', async () => {
    for (const limit of [100, 49]) assert.deepEqual(await walk({ limit, reverse: true }), keys)
  })

  await t.test('a record that appears or goes between two pages moves nothing', async () => {
    const page = (cursor) => newAgent().com.atproto.repo.listRecords({ repo, collection, limit: 10, cursor })
    const first = (await page()).data
    const newest = await day.carol.post({ text: 'newest' })
    const next = (await page(first.cursor)).data
    assert.deepEqual(next.records.map((r) => r.uri.split('/').at(-1)), [...keys].reverse().slice(10, 20))
    await day.carol.deletePost(newest.uri)
  })

  await t.test('repositories are listed page by page, and by collection', async () => {
    const seen = new Map()
    let cursor
    do {
      const { data } = await newAgent().com.atproto.sync.listRepos({ limit: 2, cursor })
      for (const repo of data.repos) {
        assert.ok(!seen.has(repo.did), 'listed twice')
        seen.set(repo.did, repo)
      }
      cursor = data.cursor
    } while (cursor)
    for (const agent of [day.alice, day.bob, day.carol]) {
      const { data } = await newAgent().com.atproto.sync.getLatestCommit({ did: agent.did })
      const { head, rev, active } = seen.get(agent.did)
      assert.deepEqual({ head, rev, active }, { head: data.cid, rev: data.rev, active: true })
    }
  })
}
