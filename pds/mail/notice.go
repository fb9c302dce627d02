package mail

import (
	"bytes"
	htmltemplate "html/template"
	"text/template"
)

// Notice is a message that tells of something that has happened, and carries no code.
type Notice struct {
	Subject string
	Lead    string   // what happened, as a sentence that follows the greeting
	Lines   []string // what has changed
	Advice  []string // what it means and what to do, a paragraph each
}

// noticeLetter is what the templates see.
type noticeLetter struct {
	Letters
	Notice
	Handle string
}

var textNotice = template.Must(template.New("text").Parse(`Hello {{.Handle}},

{{.Lead}}
{{range .Lines}}
  * {{.}}{{end}}
{{range .Advice}}
{{.}}
{{end}}
` + textFoot))

var htmlNotice = htmltemplate.Must(htmltemplate.New("html").Parse(htmlHead + `<p>{{.Lead}}</p>
<ul style="overflow-wrap:anywhere">{{range .Lines}}<li>{{.}}</li>{{end}}</ul>
{{range .Advice}}<p>{{.}}</p>
{{end}}` + htmlFoot))

// Notice writes the message. handle is what the account is called.
func (l Letters) Notice(to, handle string, n Notice) Message {
	data := noticeLetter{Letters: l, Notice: n, Handle: handle}
	var text, html bytes.Buffer
	m := Message{To: to, Subject: oneLine(n.Subject)}
	if textNotice.Execute(&text, data) == nil {
		m.Text = text.String()
	}
	if htmlNotice.Execute(&html, data) == nil {
		m.HTML = html.String()
	}
	return m
}
