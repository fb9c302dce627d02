// Blobs: uploaded, used, read back to the byte, in parts, listed; and what a record may not claim about one.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { BlobRef } from '@atproto/api'
import { CID } from 'multiformats/cid'
import { create as digest } from 'multiformats/hashes/digest'
import { fails, newAgent, png, raw, skipOnReference, sortedJSON } from './harness.mjs'

const cidOf = (bytes) => CID.createV1(0x55, digest(0x12, createHash('sha256').update(bytes).digest())).toString()

export default async (t, day) => {
  const { alice, bob } = day
  const anyone = newAgent()
  const pathOf = (cid, did = alice.did) => `/xrpc/com.atproto.sync.getBlob?did=${did}&cid=${cid}`
  const bytes = await png(1)
  const cid = cidOf(bytes)
  const embed = (image) => ({ $type: 'app.bsky.embed.images', images: [{ image, alt: 'a square', aspectRatio: { width: 16, height: 16 } }] })

  await t.test('an upload is named by its hash, and nobody sees it before a record uses it', async () => {
    const { data } = await alice.uploadBlob(bytes, { encoding: 'image/png' })
    assert.deepEqual([data.blob.ref.toString(), data.blob.mimeType, data.blob.size], [cid, 'image/png', bytes.length])
    day.blob = data.blob
    const { status } = await raw(pathOf(cid))
    assert.ok(status >= 400 && status < 500, `${status}`)
    const { data: list } = await anyone.com.atproto.sync.listBlobs({ did: alice.did })
    assert.deepEqual(list.cids, [])
  })

  await t.test('a post with an image is read back equal, and the image to the byte', async () => {
    const { uri } = await alice.post({ text: 'look', embed: embed(day.blob) })
    const rkey = uri.split('/').at(-1)
    const { data } = await anyone.com.atproto.repo.getRecord({ repo: alice.did, collection: 'app.bsky.feed.post', rkey })
    const { image, alt } = data.value.embed.images[0]
    assert.deepEqual([image.ref.toString(), image.mimeType, image.size, alt], [cid, 'image/png', bytes.length, 'a square'])
    assert.equal(sortedJSON(data.value.embed), sortedJSON(embed(day.blob)))
    const got = await anyone.com.atproto.sync.getBlob({ did: alice.did, cid })
    assert.deepEqual(Buffer.from(got.data), bytes)
    assert.equal(got.headers['content-type'], 'image/png')
    assert.equal(Number(got.headers['content-length']), bytes.length)
    assert.equal(got.headers['x-content-type-options'], 'nosniff')
    assert.match(got.headers['content-security-policy'], /default-src 'none'/)
  })

  await t.test('the profile takes a picture', async () => {
    const { data } = await alice.uploadBlob(await png(2), { encoding: 'image/png' })
    await alice.upsertProfile((old) => ({ ...old, avatar: data.blob }))
    const { value } = (await anyone.com.atproto.repo.getRecord({ repo: alice.did, collection: 'app.bsky.actor.profile', rkey: 'self' })).data
    assert.equal(value.avatar.ref.toString(), data.blob.ref.toString())
    day.avatar = data.blob
  })

  await t.test('blobs are listed, page by page, and none are missing', async () => {
    const all = [cid, day.avatar.ref.toString()].sort()
    const { data } = await anyone.com.atproto.sync.listBlobs({ did: alice.did })
    assert.deepEqual([...data.cids].sort(), all)
    const first = (await anyone.com.atproto.sync.listBlobs({ did: alice.did, limit: 1 })).data
    const second = (await anyone.com.atproto.sync.listBlobs({ did: alice.did, limit: 1, cursor: first.cursor })).data
    assert.deepEqual([...first.cids, ...second.cids].sort(), all)
    assert.deepEqual((await alice.com.atproto.repo.listMissingBlobs()).data.blobs, [])
  })

  const post = (agent, blob) => agent.post({ text: 'x', embed: embed(blob) })
  // altered gives a blob with a false claim.
  const altered = ({ ref, mimeType, size }, change) => {
    const claim = { ref, mimeType, size, ...change }
    return new BlobRef(claim.ref, claim.mimeType, claim.size)
  }
  const refusesLies = async (blob) => {
    await fails(post(alice, altered(blob, { mimeType: 'image/jpeg' })), 400, 'InvalidMimeType')
    await fails(post(alice, altered(blob, { size: 1 })), 400, 'InvalidSize')
  }

  await t.test('a record may use only what was uploaded, and as what it is', async () => {
    await fails(post(bob, day.blob), 400, 'BlobNotFound')
    const never = cidOf(Buffer.from('never uploaded'))
    await fails(post(alice, altered(day.blob, { ref: CID.parse(never) })), 400, 'BlobNotFound')
    const { data } = await alice.uploadBlob(await png(4), { encoding: 'image/png' })
    await refusesLies(data.blob)
  })

  await t.test('nor as something else once it is in use', skipOnReference('looks only at the first use'), async () => {
    await refusesLies(day.blob)
  })

  await t.test('a part of a blob, and nothing when it is known', skipOnReference('has no Range and no ETag'), async () => {
    const part = await raw(pathOf(cid), { headers: { range: 'bytes=5-14' } })
    assert.equal(part.status, 206)
    assert.equal(part.headers.get('content-range'), `bytes 5-14/${bytes.length}`)
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(5, 15))
    const tail = await raw(pathOf(cid), { headers: { range: 'bytes=-4' } })
    assert.deepEqual(Buffer.from(await tail.arrayBuffer()), bytes.subarray(-4))
    assert.equal((await raw(pathOf(cid), { headers: { range: `bytes=${bytes.length}-` } })).status, 416)
    const whole = await raw(pathOf(cid))
    assert.match(whole.headers.get('cache-control'), /immutable/)
    const known = await raw(pathOf(cid), { headers: { 'if-none-match': whole.headers.get('etag') } })
    assert.equal(known.status, 304)
    const head = await raw(pathOf(cid), { method: 'HEAD' })
    assert.deepEqual([head.status, Number(head.headers.get('content-length'))], [200, bytes.length])
  })

  await t.test('what is not there', async () => {
    const absent = cidOf(Buffer.from('absent'))
    const { status } = await raw(pathOf(absent))
    assert.ok(status === 400 || status === 404, `${status}`)
    await fails(anyone.com.atproto.sync.getBlob({ did: alice.did, cid: 'nonsense' }), 400, 'InvalidRequest')
  })

  await t.test('the last record that used a blob takes it along', async () => {
    const { data } = await alice.uploadBlob(await png(3), { encoding: 'image/png' })
    const gone = data.blob.ref.toString()
    const { uri } = await alice.post({ text: 'soon gone', embed: embed(data.blob) })
    assert.equal((await raw(pathOf(gone))).status, 200)
    await alice.deletePost(uri)
    assert.ok((await raw(pathOf(gone))).status >= 400)
    assert.ok(!(await anyone.com.atproto.sync.listBlobs({ did: alice.did })).data.cids.includes(gone))
  })
}
