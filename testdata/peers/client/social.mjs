// Likes, reposts, follows, blocks, replies, as the apps make them, and the rule that there is one of each per subject.
import assert from 'node:assert/strict'
import { fails, newAgent, signUp } from './harness.mjs'

export default async (t, day) => {
  const { alice, bob } = day
  const list = async (collection, repo = bob.did) =>
    (await newAgent().com.atproto.repo.listRecords({ repo, collection })).data.records
  const rkeyOf = (uri) => uri.split('/').at(-1)

  await t.test('a like, a repost, a follow, a block and a reply', async () => {
    const post = { uri: day.post.uri, cid: day.post.cid }
    const made = {
      'app.bsky.feed.like': await bob.like(post.uri, post.cid),
      'app.bsky.feed.repost': await bob.repost(post.uri, post.cid),
      'app.bsky.graph.follow': await bob.follow(alice.did),
    }
    for (const [collection, { uri, cid }] of Object.entries(made)) {
      const records = await list(collection)
      assert.deepEqual(records.map((r) => [r.uri, r.cid]), [[uri, cid]])
    }
    assert.deepEqual((await list('app.bsky.feed.like'))[0].value.subject, post)
    assert.equal((await list('app.bsky.graph.follow'))[0].value.subject, alice.did)
    const reply = await bob.post({ text: 'indeed', reply: { root: post, parent: post } })
    const { value } = (await list('app.bsky.feed.post')).find((r) => r.uri === reply.uri)
    assert.deepEqual(value.reply, { root: post, parent: post })
  })

  await t.test('a second like, repost or follow of the same replaces the first', async () => {
    for (const [collection, again] of [
      ['app.bsky.feed.like', () => bob.like(day.post.uri, day.post.cid)],
      ['app.bsky.feed.repost', () => bob.repost(day.post.uri, day.post.cid)],
      ['app.bsky.graph.follow', () => bob.follow(alice.did)],
    ]) {
      const [first] = await list(collection)
      const second = await again()
      assert.notEqual(second.uri, first.uri)
      assert.deepEqual((await list(collection)).map((r) => r.uri), [second.uri])
      await fails(newAgent().com.atproto.repo.getRecord({ repo: bob.did, collection, rkey: rkeyOf(first.uri) }), 400, 'RecordNotFound')
    }
  })

  await t.test('what is undone leaves nothing behind, and may be done again', async () => {
    for (const [collection, undo, redo] of [
      ['app.bsky.feed.like', (uri) => bob.deleteLike(uri), () => bob.like(day.post.uri, day.post.cid)],
      ['app.bsky.feed.repost', (uri) => bob.deleteRepost(uri), () => bob.repost(day.post.uri, day.post.cid)],
      ['app.bsky.graph.follow', (uri) => bob.deleteFollow(uri), () => bob.follow(alice.did)],
    ]) {
      const [{ uri }] = await list(collection)
      await undo(uri)
      assert.deepEqual(await list(collection), [])
      const { uri: again } = await redo()
      assert.deepEqual((await list(collection)).map((r) => r.uri), [again])
    }
  })

  await t.test('blocks and lists', async () => {
    const troll = await signUp('troll')
    const block = { subject: troll.did, createdAt: new Date().toISOString() }
    const one = await alice.app.bsky.graph.block.create({ repo: alice.did }, block)
    const two = await alice.app.bsky.graph.block.create({ repo: alice.did }, block)
    assert.notEqual(one.uri, two.uri)
    assert.equal((await list('app.bsky.graph.block', alice.did)).length, 1)
    const members = await alice.app.bsky.graph.list.create(
      { repo: alice.did },
      { name: 'fishers', purpose: 'app.bsky.graph.defs#curatelist', createdAt: new Date().toISOString() },
    )
    await alice.app.bsky.graph.listitem.create(
      { repo: alice.did },
      { list: members.uri, subject: bob.did, createdAt: new Date().toISOString() },
    )
    assert.equal((await list('app.bsky.graph.listitem', alice.did))[0].value.list, members.uri)
  })
}
