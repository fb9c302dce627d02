// The client's whole day, in order, against one server. Each part is in a file of its own; the state they hand on is `day`.
import { after, before, test } from 'node:test'
import { signUp } from './harness.mjs'
import { live } from './recorder.mjs'
import accounts from './accounts.mjs'
import records from './records.mjs'
import social from './social.mjs'
import blobs from './blobs.mjs'
import pages from './pages.mjs'
import sync from './sync.mjs'
import firehose from './firehose.mjs'

const day = {}

before(async () => {
  const beacon = await signUp('beacon')
  day.recorder = await live(() => beacon.post({ text: 'anybody there?' }))
})
after(() => day.recorder?.stop())

for (const [name, part] of Object.entries({ accounts, records, social, blobs, pages, sync, firehose })) {
  test(name, (t) => part(t, day))
}
