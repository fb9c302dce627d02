package pds

import (
	"fmt"
	"slices"
	"strings"
)

// refused are settings of the reference that would put people's data or keys elsewhere than the operator believes if they were
// ignored. The server does not start with them.
var refused = map[string]string{
	"PDS_BLOBSTORE_S3_":               "this version keeps blobs on disk only; remove it and set PDS_BLOBSTORE_DISK_LOCATION, after copying the blobs there (perch adopt does so)",
	"PDS_ENTRYWAY_":                   "this version cannot work behind an entryway; remove it if this server signs people in by itself",
	"PDS_PLC_ROTATION_KEY_KMS_KEY_ID": "this version cannot use a key in a KMS; remove it and set PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX",
}

// without are settings of the reference that have no effect in this version, with what that means.
var without = map[string]string{
	"PDS_HCAPTCHA_":                             "this version asks no captcha: keep PDS_INVITE_REQUIRED=true",
	"PDS_REDIS_SCRATCH_":                        "rate limits are kept in memory; no Redis is needed for one server",
	"PDS_EMAIL_DISABLE_CONFIRMATION_LINK":       "mails of this server carry codes and no links",
	"PDS_ACCOUNT_DB_LOCATION":                   "everything is in perch.db in PDS_DATA_DIRECTORY",
	"PDS_SEQUENCER_DB_LOCATION":                 "everything is in perch.db in PDS_DATA_DIRECTORY",
	"PDS_DID_CACHE_DB_LOCATION":                 "the cache is in memory",
	"PDS_ACTOR_STORE_DIRECTORY":                 "everything is in perch.db in PDS_DATA_DIRECTORY",
	"PDS_ACTOR_STORE_CACHE_SIZE":                "see PDS_TREE_CACHE_BYTES",
	"PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT":    "the database checkpoints itself",
	"PDS_REPO_SIGNING_KEY_K256_PRIVATE_KEY_HEX": "every account has a signing key of its own",
	"PDS_BLOBSTORE_DISK_TMP_LOCATION":           "uploads are kept beside the blobs until they are whole",
	"PDS_MAX_SUBSCRIPTION_BUFFER":               "a slow subscriber needs no buffer; see PDS_FIREHOSE_BUFFER_BYTES",
	"PDS_PROXY_MAX_RETRIES":                     "requests to services are sent once",
	"PDS_PROXY_PREFER_COMPRESSED":               "answers are passed on as they come",
}

// lookup finds what is said about a name, or about the prefix it begins with.
func lookup(notes map[string]string, name string) (string, bool) {
	if note, ok := notes[name]; ok {
		return note, true
	}
	for prefix, note := range notes {
		if strings.HasSuffix(prefix, "_") && strings.HasPrefix(name, prefix) {
			return note, true
		}
	}
	return "", false
}

// checkNames looks at all PDS_* names that were given, and warns of those without effect. It returns a problem for each that it
// would be wrong to ignore.
func (c *Config) checkNames(values map[string]string) (problems []string) {
	for _, name := range sortedNames(values) {
		if slices.ContainsFunc(fields, func(f field) bool { return f.variable == name }) {
			continue
		}
		if note, ok := lookup(refused, name); ok {
			problems = append(problems, name+": "+note)
			continue
		}
		if note, ok := lookup(without, name); ok {
			c.warn("%s has no effect: %s", name, note)
			continue
		}
		if near := nearest(name); near != "" {
			c.warn("%s (%s) is unknown and has no effect; did you mean %s?", name, c.origins[name], near)
		} else {
			c.warn("%s (%s) is unknown and has no effect; `perch config` lists all settings", name, c.origins[name])
		}
	}
	return problems
}

func sortedNames(values map[string]string) []string {
	var names []string
	for name := range values {
		if strings.HasPrefix(name, "PDS_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// maxDistance is how many letters may be wrong in a name for another one to be proposed.
const maxDistance = 4

// nearest returns the known name that is most like name, or "".
func nearest(name string) string {
	best, least := "", maxDistance+1
	for _, f := range fields {
		if d := distance(name, f.variable); d < least {
			best, least = f.variable, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace that makes b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
