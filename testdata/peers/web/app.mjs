// An app that sends people to the server's pages.
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { url } from './browser.mjs'

export const redirect = 'http://127.0.0.1/callback'

const rights = [
  'atproto', 'transition:email', 'repo:app.bsky.feed.post?action=create', 'repo:app.bsky.feed.like', 'repo:*?action=delete', 'blob:image/*',
  'rpc:app.bsky.feed.getTimeline?aud=did:web:api.example.com%23bsky_appview', 'account:email', 'identity:handle', 'transition:generic',
]

const idOf = (scope) => 'http://localhost?' + new URLSearchParams({ redirect_uri: redirect, scope })
const hash = (text) => createHash('sha256').update(text).digest('base64url')
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

// ask pushes a request and returns the address to open.
export async function ask(more = {}, scope = rights.join(' '), server = url) {
  const client_id = idOf(scope)
  const verifier = randomBytes(32).toString('base64url')
  const response = await fetch(server + '/oauth/par', {
    method: 'POST',
    body: new URLSearchParams({
      client_id, scope, redirect_uri: redirect, response_type: 'code', state: randomBytes(16).toString('base64url'), code_challenge_method: 'S256',
      dpop_jkt: randomBytes(32).toString('base64url'), // it never asks for the tokens
      code_challenge: hash(verifier), ...more,
    }),
  })
  const answer = await response.json()
  assert.equal(response.status, 201, JSON.stringify(answer))
  return `${server}/oauth/authorize?` + new URLSearchParams({ client_id, request_uri: answer.request_uri })
}

// callback stands in for the app's page, and returns what it will be told.
export function callback(page) {
  return new Promise((resolve) => {
    page.route(redirect + '**', async (route) => {
      const request = route.request()
      const values = request.method() === 'POST' ? request.postData() : new URL(request.url()).search
      await route.fulfill({ contentType: 'text/html', body: '<!doctype html><html lang="en"><title>App</title><h1>The app</h1>' })
      resolve(new URLSearchParams(values))
    })
  })
}

// letIn has the app asked for, let in by whoever is signed in, and given its tokens.
export async function letIn(page, more, scope = rights.join(' ')) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { crv, kty, x, y } = publicKey.export({ format: 'jwk' })
  const verifier = randomBytes(32).toString('base64url')
  await page.goto(await ask({ dpop_jkt: hash(JSON.stringify({ crv, kty, x, y })), code_challenge: hash(verifier), ...more }, scope))
  const back = callback(page)
  await page.click('button[value=allow]')
  const code = (await back).get('code')
  await page.waitForURL(redirect + '**')
  const redeem = async (nonce) => {
    const proof = encode({ typ: 'dpop+jwt', alg: 'ES256', jwk: { crv, kty, x, y } }) + '.' +
      encode({ jti: randomBytes(12).toString('hex'), htm: 'POST', htu: url + '/oauth/token', iat: Math.floor(Date.now() / 1000), nonce })
    const DPoP = proof + '.' + sign('sha256', Buffer.from(proof), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')
    const body = new URLSearchParams({ grant_type: 'authorization_code', client_id: idOf(scope), redirect_uri: redirect, code, code_verifier: verifier })
    return fetch(url + '/oauth/token', { method: 'POST', headers: { DPoP }, body })
  }
  const first = await redeem() // which is told the nonce
  const answer = first.status === 200 ? first : await redeem(first.headers.get('dpop-nonce'))
  assert.equal(answer.status, 200, await answer.clone().text())
}
