package mail

import (
	"bytes"
	htmltemplate "html/template"
	"strings"
	"text/template"
	"time"
)

// Letters writes the messages of one server.
type Letters struct {
	Service string // what the server is called
	URL     string // its origin
	Contact string // address to write to for help; "" for none
}

// letter is one message that carries a code.
type letter struct {
	Subject string
	Lead    string // what was asked for
	Use     string // what to do with the code
	Warning string // what happens to those who give the code away; "" for nothing in particular
	Ignore  string // what happens if nothing is done
}

// letters by what the code is for. The subjects are the reference's.
var letters = map[string]letter{
	"reset_password": {
		Subject: "Password Reset Requested",
		Lead:    "somebody, hopefully you, asked to reset the password of your account.",
		Use:     "Enter this code in the app, together with a new password:",
		Warning: "Whoever has this code can take over your account. Nobody who helps you needs it.",
		Ignore:  "If you did not ask for it, ignore this message: your password stays as it is.",
	},
	"confirm_email": {
		Subject: "Email Confirmation",
		Lead:    "please confirm that this is your e-mail address.",
		Use:     "Enter this code in the app:",
		Ignore:  "If you did not ask for it, ignore this message.",
	},
	"update_email": {
		Subject: "Email Update Requested",
		Lead:    "somebody, hopefully you, asked to change the e-mail address of your account. This message goes to the present address.",
		Use:     "Enter this code in the app, together with the new address:",
		Warning: "Whoever has this code, and is signed in, can take your account away from this address. Nobody who helps you needs it.",
		Ignore:  "If you did not ask for it, somebody else may be signed in to your account: change your password.",
	},
	"delete_account": {
		Subject: "Account Deletion Requested",
		Lead:    "somebody, hopefully you, asked to delete your account, with all posts, images, follows and settings. That cannot be undone.",
		Use:     "If you are sure, enter this code in the app, together with your password:",
		Warning: "If you want to go on at another server, move the account there first.",
		Ignore:  "If you did not ask for it, ignore this message, and change your password: somebody else may be signed in to your account.",
	},
	"sign_in": {
		Subject: "Sign-in Code",
		Lead:    "somebody, hopefully you, is signing in to your account and knows its password.",
		Use:     "Enter this code in the app:",
		Warning: "Nobody who helps you needs this code.",
		Ignore:  "If it is not you, change your password: somebody else knows it.",
	},
	"plc_operation": {
		Subject: "PLC Update Operation Requested",
		Lead:    "somebody, hopefully you, asked to change the identity of your account, as is done to move it to another server.",
		Use:     "Enter this code where you began the move:",
		Warning: "Whoever has this code, and is signed in, can take your account away for ever. Nobody who helps you needs it.",
		Ignore:  "If you did not ask for it, ignore this message, and change your password: somebody else may be signed in to your account.",
	},
}

// codeLetter is what the templates see.
type codeLetter struct {
	Letters
	letter
	Handle, Code string
	Minutes      int
}

var textLetter = template.Must(template.New("text").Parse(`Hello {{.Handle}},

{{.Lead}}

{{.Use}}

    {{.Code}}

It is good for {{.Minutes}} minutes and can be used once.
{{with .Warning}}
{{.}}
{{end}}
{{.Ignore}}

` + textFoot))

// textFoot stands at the end of every message, htmlHead and htmlFoot around the paragraphs of its other form.
const (
	textFoot = `-- 
{{.Service}}
{{.URL}}
{{with .Contact}}Questions: {{.}}
{{end}}`
	htmlHead = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Subject}}</title>
</head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif">
<div style="max-width:34em;margin:0 auto">
<p>Hello {{.Handle}},</p>
`
	htmlFoot = `<hr style="border:0;border-top:1px solid #8888;margin:24px 0">
<p style="font-size:14px">{{.Service}}<br><a href="{{.URL}}">{{.URL}}</a>{{with .Contact}}<br>Questions: <a href="mailto:{{.}}">{{.}}</a>{{end}}</p>
</div>
</body>
</html>
`
)

var htmlLetter = htmltemplate.Must(htmltemplate.New("html").Parse(htmlHead + `<p>{{.Lead}}</p>
<p>{{.Use}}</p>
<p style="margin:24px 0;padding:16px;border:1px solid #8888;border-radius:8px;text-align:center;font:600 24px/1.2 ui-monospace,Menlo,Consolas,monospace;letter-spacing:.08em">{{.Code}}</p>
<p>It is good for {{.Minutes}} minutes and can be used once.</p>
{{with .Warning}}<p><strong>{{.}}</strong></p>
{{end}}<p>{{.Ignore}}</p>
` + htmlFoot))

// Code writes the message that carries a code for the purpose: "reset_password", "confirm_email", "update_email", "delete_account",
// "sign_in" or "plc_operation". handle is what the account is called. It is false for a purpose that has no message.
func (l Letters) Code(purpose, to, handle, code string, validity time.Duration) (Message, bool) {
	words, ok := letters[purpose]
	if !ok {
		return Message{}, false
	}
	data := codeLetter{Letters: l, letter: words, Handle: handle, Code: code, Minutes: int(validity.Round(time.Minute).Minutes())}
	var text, html bytes.Buffer
	if textLetter.Execute(&text, data) != nil || htmlLetter.Execute(&html, data) != nil {
		return Message{}, false // a mistake in the templates, which the tests find
	}
	return Message{To: to, Subject: words.Subject, Text: text.String(), HTML: html.String()}, true
}

// Plain writes a message of somebody else's words, such as a moderator's.
func (l Letters) Plain(to, subject, text string) Message {
	return Message{To: to, Subject: oneLine(subject), Text: strings.TrimRight(text, "\n") + "\n"}
}

// Test writes the message by which an operator sees that mail arrives.
func (l Letters) Test(to string) Message {
	return l.Plain(to, "Test", "This is a test of the mail settings of "+l.Service+" ("+l.URL+"). Mail arrives.")
}

// oneLine keeps line ends out of a header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
