// The web server of the apps: what they say about themselves, the pages that browsers come back to, and the app that runs in the browser.
import { build } from 'esbuild'
import http from 'node:http'
import { fileURLToPath } from 'node:url'

export const port = Number(process.env.PEERS_APP_PORT)
export const local = `http://127.0.0.1:${port}`

export const elsewhere = 'https://trusted-app.net/' // where /onward leads on to: another origin than those that lead there

const documents = new Map() // by address without the scheme
export const publish = (address, body) => documents.set(address.replace(/^https?:\/\//, ''), body)

// arrived is what the browser has brought to /callback last.
let arrived
export function take() {
  const it = arrived
  arrived = undefined
  return it
}

const html = (text) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title><h1>${text}</h1>`

let bundle
const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://' + request.headers.host)
  const document = documents.get(request.headers.host + pathname)
  const send = (type, body, status = 200) => response.writeHead(status, { 'content-type': type, 'access-control-allow-origin': '*' }).end(body)
  if (document) return send('application/json', JSON.stringify(document))
  if (pathname === '/callback' || pathname === '/onward') {
    let body = ''
    for await (const part of request) body += part
    arrived = request.method === 'POST' ? new URLSearchParams(body) : searchParams
    if (pathname === '/onward') return response.writeHead(303, { location: elsewhere }).end()
    return send('text/html', html('Back in the app'))
  }
  if (pathname === '/app.js') return send('text/javascript', bundle)
  if (pathname === '/') return send('text/html', html('The app') + '<script type="module" src="/app.js"></script>')
  send('text/html', html('Nothing here'), 404)
})

export async function openSite() {
  const entry = fileURLToPath(new URL('browserapp.mjs', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false, logLevel: 'error' })
  bundle = outputFiles[0].text
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
}

export function closeSite() {
  server.closeAllConnections()
  server.close()
}
