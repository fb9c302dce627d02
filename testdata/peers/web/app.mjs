// An app that sends people to the server's pages.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { url } from './browser.mjs'

export const redirect = 'http://127.0.0.1/callback'

const rights = [
  'atproto', 'transition:email', 'repo:app.bsky.feed.post?action=create', 'repo:app.bsky.feed.like', 'repo:*?action=delete', 'blob:image/*',
  'rpc:app.bsky.feed.getTimeline?aud=did:web:api.example.com%23bsky_appview', 'account:email', 'identity:handle', 'transition:generic',
]

// ask pushes a request and returns the address to open.
export async function ask(more = {}, scope = rights.join(' ')) {
  const client_id = 'http://localhost?' + new URLSearchParams({ redirect_uri: redirect, scope })
  const verifier = randomBytes(32).toString('base64url')
  const response = await fetch(url + '/oauth/par', {
    method: 'POST',
    body: new URLSearchParams({
      client_id, scope, redirect_uri: redirect, response_type: 'code', state: 'state', code_challenge_method: 'S256',
      dpop_jkt: randomBytes(32).toString('base64url'), // it never asks for the tokens
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), ...more,
    }),
  })
  const answer = await response.json()
  assert.equal(response.status, 201, JSON.stringify(answer))
  return `${url}/oauth/authorize?` + new URLSearchParams({ client_id, request_uri: answer.request_uri })
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
