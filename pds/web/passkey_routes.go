package web

import "time"

// passkeyRoutes are the pages of passkeys, and where other pages send what an authenticator has answered.
func (s *Site) passkeyRoutes() {
	s.page("POST /account/sign-in/passkey", s.signInPasskey, limitAddress("passkey", 60, 5*time.Minute))
	s.page("POST /account/sign-in/code/passkey", s.signInCodePasskey, limitAddress("passkey", 60, 5*time.Minute))
	s.page("POST /account/confirm/passkey", s.confirmPasskey, signedIn, limit("confirm", 20, 5*time.Minute))

	s.page("GET /account/passkeys", s.passkeys, sensitive)
	s.page("POST /account/passkeys", s.addPasskey, sensitive, limit("change passkeys", 60, time.Hour))
	s.page("POST /account/passkeys/rename", s.renamePasskey, sensitive, limit("change passkeys", 60, time.Hour))
	s.page("POST /account/passkeys/remove", s.removePasskey, sensitive, limit("change passkeys", 60, time.Hour))
}
