// indigo's client in Go, behind a website whose pages are its answers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allow, deny, member, profile, signIn } from './people.mjs'

const origin = 'https://go-app.net'

for (const [kind, name] of [['confidential', 'heidi'], ['public', 'ivan'], ['localhost', 'judy']]) {
  test(`go, ${kind}`, async (t) => {
    const who = await member(name)
    const v = await profile(t)
    const { page } = v
    const answer = async () => JSON.parse(await page.textContent('body'))
    const back = /\/callback\//

    await page.goto(`${origin}/login/${kind}?who=${who.handle}`)
    await signIn(page)
    await deny(page)
    await page.waitForURL(back)
    assert.match((await answer()).error, /access_denied/)

    await page.goto(`${origin}/login/${kind}?who=${who.handle}`)
    await allow(page)
    await page.waitForURL(back)
    const { did, session, scopes, error } = await answer()
    assert.equal(did, who.did, error)
    assert.deepEqual(scopes, ['atproto', 'repo:net.perch-club.post?action=create', 'repo:net.perch-club.note'])

    const act = async (action, which = session) =>
      (await fetch(`${origin}/use/${kind}/${action}?` + new URLSearchParams({ did, session: which }))).json()
    const works = async (action, which) => assert.deepEqual(await act(action, which), { status: 200 }, action)
    const refused = async (action) => assert.deepEqual(await act(action), { status: 403, error: 'ScopeMissingError' }, action)

    await works('create:net.perch-club.post')
    await works('delete:net.perch-club.note')
    await refused('delete:net.perch-club.post')
    await refused('create:app.bsky.feed.post')
    await works('refresh')
    await works('create:net.perch-club.post')
    await works('forget-nonce')
    await works('create:net.perch-club.post')
    await works('forget-nonce')
    await works('refresh')

    // The tokens in the hands of somebody without the key are of no use, and do the owner no harm.
    await works('swap-key')
    assert.notEqual((await act('create:net.perch-club.post', 'stolen')).status, 200)
    assert.match((await act('refresh', 'stolen')).error, /invalid_grant/)
    await works('create:net.perch-club.post')
    await works('refresh')

    // Who has copied all of the session, and is behind, ends it for both.
    await works('old-token')
    await works('refresh')
    await works('refresh')
    assert.match((await act('refresh', 'old')).error, /invalid_grant/)
    assert.match((await act('create:net.perch-club.post')).error, /invalid_grant/)

    await page.goto(`${origin}/login/${kind}?who=${who.handle}`)
    if (kind !== 'confidential') await allow(page) // it has proved itself, and asks for nothing new
    await page.waitForURL(back)
    const again = await answer()
    assert.equal(again.did, who.did, again.error)
    await works('create:net.perch-club.post', again.session)
    await works('logout', again.session)
    assert.match((await act('create:net.perch-club.post', again.session)).error, /not found/)
  })
}
