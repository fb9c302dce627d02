package oauth

// params are the parameters of a pushed request, as they are kept.
type params struct {
	State string `json:"state"`
}
