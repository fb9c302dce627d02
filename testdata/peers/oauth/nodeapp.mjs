// Apps on the stock client for Node: with a key of their own (confidential), without (public), under development (loopback), and trusted by the operator.
import { JoseKey, NodeOAuthClient, requestLocalLock } from '@atproto/oauth-client-node'
import { local, publish, take } from './site.mjs'

export const rights = 'atproto repo:net.perch-club.post?action=create repo:net.perch-club.note'

const memory = () => {
  const map = new Map()
  return { map, get: async (k) => map.get(k), set: async (k, v) => void map.set(k, structuredClone(v)), del: async (k) => void map.delete(k) }
}

let apps = 0
// nodeApp makes an app. Its requests are kept in app.requests, and pass by app.intercept when that is set.
// It is called otherwise if named says so: { id, name }. Browsers come back to the path way of its site.
export async function nodeApp(kind, { scope = rights, responseMode, like, named, way = '/callback' } = {}) {
  const n = ++apps
  const app = { kind, scope, gone: [], requests: [], sessions: like?.sessions ?? memory(), states: memory(), nonces: memory() }
  const send = async (...args) => {
    const request = new Request(...args)
    app.requests.push({ method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body: await request.clone().text() })
    const response = await fetch(request)
    return app.intercept ? app.intercept(request, response) : response
  }
  const { metadata, keyset } = like ? like.identity : await describe(kind, n, scope, named, way)
  app.identity = { metadata, keyset }
  app.redirect = metadata.redirect_uris[0]
  app.id = metadata.client_id
  app.client = new NodeOAuthClient({
    clientMetadata: metadata, keyset, responseMode, stateStore: app.states, sessionStore: app.sessions, dpopNonceCache: app.nonces, fetch: send,
    requestLock: like ? (_, fn) => fn() : requestLocalLock, // a copy shares no lock, as a second process would not
    onSessionDeleted: (_, cause) => app.gone.push(cause?.constructor?.name),
  })
  // start returns the address that a browser is to be sent to.
  app.start = async (who, options = {}) => (await app.client.authorize(who, { scope, ...options })).href
  // finish takes what the browser has brought back.
  app.finish = async () => {
    const { session } = await app.client.callback(take())
    app.gone.length = 0 // the client looks for a session first, and tells that there is none
    return session
  }
  return app
}

async function describe(kind, n, scope, named, way) {
  const origin = named ? new URL(named.id).origin : kind === 'trusted' ? 'https://trusted-app.net' : 'https://node-app.net'
  if (kind === 'loopback') {
    const redirect = local + way
    return {
      metadata: {
        client_id: 'http://localhost?' + new URLSearchParams({ redirect_uri: redirect, scope }), redirect_uris: [redirect], scope,
        token_endpoint_auth_method: 'none', application_type: 'native', grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'], dpop_bound_access_tokens: true,
      },
    }
  }
  const id = named?.id ?? (kind === 'trusted' ? origin + '/client-metadata.json' : `${origin}/${kind}-${n}.json`)
  const metadata = {
    client_id: id, client_name: named?.name ?? (kind === 'trusted' ? 'Trusted App' : 'App ' + n), client_uri: origin, redirect_uris: [origin + way], scope,
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], application_type: 'web', dpop_bound_access_tokens: true,
    token_endpoint_auth_method: 'none',
  }
  let keyset
  if (kind === 'confidential') {
    keyset = [await JoseKey.generate(['ES256'], 'first-' + n)]
    Object.assign(metadata, { token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks_uri: `${origin}/keys-${n}.json` })
    publish(metadata.jwks_uri, { keys: keyset.map((k) => k.publicJwk) })
  }
  publish(id, metadata)
  return { metadata, keyset }
}

// use calls a method with a session and returns the status with what is in the answer.
export async function use(session, method, body) {
  const init = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await session.fetchHandler('/xrpc/' + method, init)
  const answer = await response.json().catch(() => ({}))
  return { status: response.status, ...answer }
}

export const create = (session, collection) =>
  use(session, 'com.atproto.repo.createRecord', { repo: session.sub, collection, record: { $type: collection, text: 'written by an app' } })

export const remove = (session, collection) => use(session, 'com.atproto.repo.deleteRecord', { repo: session.sub, collection, rkey: 'none' })
