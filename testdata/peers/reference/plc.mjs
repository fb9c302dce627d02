// Starts a PLC directory in memory (@did-plc/server) on localhost, for runs where Perch's own is not there.
//
//   node.sh reference/plc.mjs --port 2582
//
// The package gives DID documents in the form of 2022 (relative ids, 2019 key types), which strict readers refuse; documents
// are therefore written here from its /data, in today's form. All else is passed through.
// When it answers, one line of JSON goes to standard output: {"ready":true,"url":"http://localhost:2582","pid":1234}
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import http from 'node:http'

const { values: args } = parseArgs({ options: { port: { type: 'string', default: '2582' } } })
process.env.LOG_ENABLED ??= 'false'
const { PlcServer, Database } = createRequire(import.meta.url)('@did-plc/server')

const inner = PlcServer.create({ db: Database.mock() })
const didPath = /^\/(did(?::|%3A)plc(?::|%3A)[a-z2-7]{24})$/i

// document writes the DID document of an account from its current PLC data.
const document = (data) => ({
  '@context': [
    'https://www.w3.org/ns/did/v1',
    'https://w3id.org/security/multikey/v1',
    'https://w3id.org/security/suites/secp256k1-2019/v1',
  ],
  id: data.did,
  alsoKnownAs: data.alsoKnownAs,
  verificationMethod: Object.entries(data.verificationMethods).map(([name, key]) => ({
    id: `${data.did}#${name}`,
    type: 'Multikey',
    controller: data.did,
    publicKeyMultibase: key.replace(/^did:key:/, ''),
  })),
  service: Object.entries(data.services).map(([name, { type, endpoint }]) => ({
    id: `#${name}`,
    type,
    serviceEndpoint: endpoint,
  })),
})

// captured answers a request from the inner application, and gives its status and parsed body.
const captured = async (path) => {
  const res = await fetch(`http://127.0.0.1:${innerPort}${path}`)
  return { status: res.status, body: await res.json() }
}

const innerServer = http.createServer(inner.app)
await new Promise((done) => innerServer.listen(0, '127.0.0.1', done))
const innerPort = innerServer.address().port

const outer = http.createServer(async (req, res) => {
  const match = req.method === 'GET' && didPath.exec(req.url)
  if (!match) return inner.app(req, res)
  const did = decodeURIComponent(match[1])
  try {
    const { status, body } = await captured(`/${did}/data`)
    res.writeHead(status, {
      'content-type': status === 200 ? 'application/did+ld+json' : 'application/json',
      'access-control-allow-origin': '*', // as plc.directory: apps in browsers ask it
    })
    res.end(JSON.stringify(status === 200 ? document(body) : body))
  } catch (err) {
    res.writeHead(500).end(JSON.stringify({ message: String(err) }))
  }
})
outer.listen(Number(args.port), () => {
  console.log(JSON.stringify({ ready: true, url: `http://localhost:${args.port}`, pid: process.pid }))
})
for (const sig of ['SIGINT', 'SIGTERM']) process.on(sig, () => process.exit(0))
