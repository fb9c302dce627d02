package web

import "time"

const (
	movePath = "/move"
	awayPath = "/account/move"
)

// moveRoutes are the pages of accounts that come from other servers, and of those that leave.
func (s *Site) moveRoutes() {
	// Everybody may begin to move here. Whose account it is, the old server says.
	look := limitAddress("move look", 60, 5*time.Minute)
	enter := limitAddress("move sign-in", 30, 5*time.Minute)
	s.page("GET "+movePath, s.showMove)
	s.page("GET "+movePath+"/from", s.showMoveFrom, look)
	s.page("POST "+movePath+"/from", s.moveInvite, look)
	s.page("GET "+movePath+"/sign-in", s.showMoveFrom, look)
	s.page("POST "+movePath+"/sign-in", s.moveSignIn, enter)
	s.page("GET "+movePath+"/browser", s.showMoveFrom, look)
	s.page("POST "+movePath+"/browser", s.moveByBrowser, enter)
	s.page("GET "+movePath+"/signed-in", s.moveSignedIn, enter)
	s.page("GET "+MoveCallbackPath, s.moveCallback, enter)
	s.page("GET "+movePath+"/came-back", s.showCameBack)
	// From here on only with the key of the move, or signed in to its account.
	s.page("GET "+movePath+"/account", s.showMoveAccount, look)
	s.page("POST "+movePath+"/account", s.moveAccount, limitAddress("move account", 30, 5*time.Minute))
	watch := limit("move progress", 1000, 5*time.Minute) // the script asks 200 times
	s.page("GET "+movePath+"/progress", s.showProgress(hereMoves), watch)
	s.page("GET "+movePath+"/progress.json", s.progressJSON(hereMoves), watch)
	s.page("POST "+movePath+"/progress", s.moveDo(hereMoves), limit("move step", 60, 5*time.Minute))
	s.page("GET "+movePath+"/abandon", s.showAbandon(hereMoves), watch)
	s.page("POST "+movePath+"/abandon", s.abandonMove(hereMoves), limit("move step", 60, 5*time.Minute))

	s.page("GET "+awayPath, s.showAway, signedIn)
	s.page("GET "+awayPath+"/to", s.showAwayTo, sensitive, limit("move to", 60, 5*time.Minute))
	s.page("POST "+awayPath+"/to", s.moveAway, sensitive, limit("move away", 30, 5*time.Minute))
	s.page("GET "+awayPath+"/progress", s.showProgress(awayMoves), signedIn, watch)
	s.page("GET "+awayPath+"/progress.json", s.progressJSON(awayMoves), signedIn, watch)
	s.page("POST "+awayPath+"/progress", s.moveDo(awayMoves), sensitive, limit("move step", 60, 5*time.Minute))
	s.page("GET "+awayPath+"/abandon", s.showAbandon(awayMoves), signedIn)
	s.page("POST "+awayPath+"/abandon", s.abandonMove(awayMoves), sensitive)
}
