// The app that runs in the browser, on the stock client. The test reaches it as window.app.
import { BrowserOAuthClient } from '@atproto/oauth-client-browser'

const scope = 'atproto repo:net.perch-club.post?action=create repo:net.perch-club.note include:net.perch-club.authPost'
const { origin, hostname } = location
const clientId =
  hostname === '127.0.0.1' ? 'http://localhost?' + new URLSearchParams({ redirect_uri: origin + '/', scope }) : origin + '/client-metadata.json'

const app = { gone: [], requests: [], skew: 0, intercept: undefined }
window.app = app

// Every request goes by here, so that a test can look at it and change it.
const send = async (...args) => {
  const request = new Request(...args)
  app.requests.push({ method: request.method, url: request.url, dpop: request.headers.get('dpop'), body: await request.clone().text() })
  const response = await fetch(request)
  return app.intercept ? app.intercept(request, response) : response
}

app.ready = (async () => {
  app.client = await BrowserOAuthClient.load({
    clientId, handleResolver: 'https://alpha-pds.net', fetch: send,
    onSessionDeleted: (sub, cause) => app.gone.push(cause?.constructor?.name ?? String(cause)),
  })
  try {
    const result = await app.client.init()
    app.session = result?.session
    return app.session?.sub
  } catch (error) {
    app.error = error.params?.get('error') ?? error.message
  }
})()

// call answers what the server says to a method.
app.call = async (method, body) => {
  const init = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  try {
    const response = await app.session.fetchHandler('/xrpc/' + method, init)
    const answer = await response.json().catch(() => ({}))
    return { status: response.status, error: answer.error }
  } catch (error) {
    return { error: error.constructor.name, message: error.message }
  }
}

app.refresh = async () => {
  try {
    const { scope } = await app.session.getTokenInfo(true)
    return { scope }
  } catch (error) {
    return { error: error.constructor.name, message: error.message }
  }
}
