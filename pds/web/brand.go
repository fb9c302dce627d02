package web

import (
	"fmt"
	"net/url"
	"strings"
)

// Brand is how the operator wants the pages to look. Everything but Name may be empty.
type Brand struct {
	Name, Contact                                    string
	HomeURL, SupportURL, TermsURL, PrivacyURL        string
	LogoURL, BackgroundLightURL, BackgroundDarkURL   string
	Primary, Error, Warning, Information, Successful string // colours
}

// The papers of both themes, as style.css has them.
var (
	lightPaper, lightCard = mustColor("#f5f4ef"), mustColor("#ffffff")
	darkPaper, darkCard   = mustColor("#111614"), mustColor("#1a211e")
)

// Colours unless the operator chose others.
const (
	defaultPrimary = "#1f6b57"
	defaultError   = "#b3261e"
	defaultWarning = "#8a5a00"
	defaultInfo    = "#2b5d9b"
	defaultSuccess = "#1b6e3c"
)

// brand is a Brand that was checked.
type brand struct {
	Brand
	primary      color
	tones        []tone
	imageOrigins []string
}

type tone struct {
	name  string
	color color
}

func newBrand(b Brand) (brand, error) {
	out := brand{Brand: b}
	var err error
	if out.primary, err = colorOr(b.Primary, defaultPrimary); err != nil {
		return brand{}, err
	}
	for _, t := range []struct{ name, given, fallback string }{
		{"error", b.Error, defaultError}, {"warning", b.Warning, defaultWarning}, {"info", b.Information, defaultInfo}, {"success", b.Successful, defaultSuccess},
	} {
		c, err := colorOr(t.given, t.fallback)
		if err != nil {
			return brand{}, err
		}
		out.tones = append(out.tones, tone{t.name, c})
	}
	for _, image := range []string{b.LogoURL, b.BackgroundLightURL, b.BackgroundDarkURL} {
		u, err := url.Parse(image)
		if err != nil || image != "" && u.Host == "" {
			return brand{}, fmt.Errorf("%q is no web address", image)
		}
		if image != "" {
			out.imageOrigins = append(out.imageOrigins, u.Scheme+"://"+u.Host)
		}
	}
	return out, nil
}

func colorOr(given, fallback string) (color, error) {
	if given == "" {
		given = fallback
	}
	return parseColor(given)
}

// CheckColor tells what is wrong with a colour of the settings.
func CheckColor(s string) error {
	_, err := parseColor(s)
	return err
}

// css is the end of the stylesheet: the operator's colours, made readable on both papers.
func (b brand) css() string {
	var css strings.Builder
	css.WriteString("\n:root{" + b.theme(lightPaper, lightCard, b.BackgroundLightURL) + "}\n")
	css.WriteString("@media (prefers-color-scheme:dark){:root{" + b.theme(darkPaper, darkCard, b.BackgroundDarkURL) + "}}\n")
	return css.String()
}

func (b brand) theme(paper, card color, background string) string {
	var css strings.Builder
	button := b.primary
	if paper.luminance() < 0.5 {
		button = b.primary.readableOn(card)
	}
	ink := button.ink()
	away := black
	if ink == black {
		away = white
	}
	fmt.Fprintf(&css, "--accent:%s;--accent-strong:%s;--on-accent:%s;", button.hex(), button.mix(away, 0.15).hex(), ink.hex())
	// Text in a colour stands on the papers and on a veil of that colour.
	text := func(c color) color { return c.readableOn(paper.mix(c, 0.12), card.mix(c, 0.12), paper, card) }
	fmt.Fprintf(&css, "--link:%s;--tint:%s;", text(b.primary).hex(), card.mix(b.primary, 0.12).hex())
	for _, t := range b.tones {
		fmt.Fprintf(&css, "--%s:%s;--%s-tint:%s;", t.name, text(t.color).hex(), t.name, card.mix(t.color, 0.1).hex())
	}
	if background != "" {
		fmt.Fprintf(&css, "--background:url(%q);", cssURL(background))
	}
	return css.String()
}

// cssURL is a web address without what could end its quotes.
func cssURL(s string) string {
	return strings.NewReplacer(`"`, "%22", `\`, "%5C", "\n", "", "\r", "", "<", "%3C").Replace(s)
}
