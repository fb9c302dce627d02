// Starts the reference PDS (@atproto/pds) on localhost for tests and measurements.
//
//   node.sh reference/pds.mjs --port 3583 --plc http://localhost:2582 --data DIR [--production] [--package pds-0.4]
//
// --package starts another release, by its name in package.json.
// On localhost it insists on its development mode, in which it also validates its own answers and events. With --production
// it believes to be https://pds.localhost and leaves that out, as in real life: use it to measure.
//
// Settings of the caller's environment (PDS_*, LOG_*) win over the ones made here. Secrets are constants, so that a
// second start on the same folder carries on. When it answers, one line of JSON goes to standard output:
//   {"ready":true,"url":"http://localhost:3583","did":"did:web:localhost%3A3583","adminPassword":"admin","pid":1234}
// SIGTERM ends it cleanly.
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const { values: args } = parseArgs({
  options: {
    port: { type: 'string', default: '3583' },
    plc: { type: 'string', default: 'http://localhost:2582' },
    data: { type: 'string' },
    production: { type: 'boolean', default: false },
    package: { type: 'string', default: '@atproto/pds' },
  },
})
if (!args.data) {
  console.error('usage: pds.mjs --port PORT --plc URL --data DIR [--production] [--package NAME]')
  process.exit(2)
}
const data = resolve(args.data)
const blobs = join(data, 'blobs')
mkdirSync(blobs, { recursive: true })

const defaults = {
  PDS_HOSTNAME: args.production ? 'pds.localhost' : 'localhost',
  PDS_PORT: args.port,
  PDS_SERVICE_DID: args.production ? 'did:web:pds.localhost' : `did:web:localhost%3A${args.port}`,
  PDS_SERVICE_HANDLE_DOMAINS: '.test',
  PDS_DATA_DIRECTORY: data,
  PDS_BLOBSTORE_DISK_LOCATION: blobs,
  PDS_BLOBSTORE_DISK_TMP_LOCATION: join(data, 'blobs-tmp'),
  PDS_DID_PLC_URL: args.plc,
  PDS_DISABLE_SSRF_PROTECTION: 'true',
  PDS_DEV_MODE: String(!args.production),
  PDS_INVITE_REQUIRED: 'false',
  PDS_RATE_LIMITS_ENABLED: 'false',
  PDS_ADMIN_PASSWORD: 'admin',
  PDS_JWT_SECRET: '0123456789abcdef0123456789abcdef',
  PDS_DPOP_SECRET: '11'.repeat(32),
  PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX: '22'.repeat(32),
  PDS_BSKY_APP_VIEW_URL: 'http://localhost:9',
  PDS_BSKY_APP_VIEW_DID: 'did:web:localhost%3A9',
  NODE_ENV: 'production',
  LOG_ENABLED: 'false',
}
if (process.env.PDS_BLOBSTORE_S3_BUCKET) {
  delete defaults.PDS_BLOBSTORE_DISK_LOCATION // both at once is an error
  delete defaults.PDS_BLOBSTORE_DISK_TMP_LOCATION
}
for (const [name, value] of Object.entries(defaults)) process.env[name] ??= value

// The package reads some of the environment while it loads, so it is loaded last.
const reference = await import(args.package)
if (reference.PDS.run) await reference.PDS.run({ onStarted: ready })
else await runOld(reference)
// Its PLC and fetch clients keep sockets open, which would hold the process for their idle time.
process.exit(0)

function ready() {
  console.log(
    JSON.stringify({
      ready: true,
      url: `http://localhost:${process.env.PDS_PORT}`,
      did: process.env.PDS_SERVICE_DID,
      adminPassword: process.env.PDS_ADMIN_PASSWORD,
      pid: process.pid,
    }),
  )
}

// Releases before 0.5.26 leave starting and stopping to the caller, who does it as their Docker image's index.js does.
async function runOld({ PDS, envToCfg, envToSecrets, readEnv }) {
  const env = readEnv()
  const pds = await PDS.create(envToCfg(env), envToSecrets(env))
  await pds.start()
  ready()
  await new Promise((stop) => process.once('SIGTERM', stop))
  await pds.destroy()
}
