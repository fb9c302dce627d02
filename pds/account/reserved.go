package account

import "strings"

// reservedNames are labels that nobody gets under a service domain: names of roles, of machines and of pages, under which a stranger would be
// taken for the server itself, or would stand in the way of a host that the operator may want. Shorter labels than three letters are refused anyway.
var reservedNames = func() map[string]bool {
	names := make(map[string]bool)
	for _, list := range reservedLists {
		for _, name := range strings.Fields(list) {
			names[name] = true
		}
	}
	return names
}()

var reservedLists = []string{
	// The protocol and its services
	`
	appview atp atproto bluesky bsky bskyapp did didplc didweb feedgen firehose labeler labeller lexicon lexicons ozone pds perch
	plc relay repo xrpc
	`,
	// Roles at a host
	`
	abuse account accounts adm admin administrator admins anonymous bot bots compliance contact copyright daemon dev developer
	developers devops dmca dpo everybody everyone feedback ftp guest guests help helpdesk host hostmaster info infra investor
	investors jobs legal list-request listserv mail-daemon mailer-daemon mailerdaemon manager marketing member members mod
	moderation moderator moderators mods news newsroom no-reply nobody noc none noreply official operator operators owner partner
	partners postmaster press privacy recruiting report reports root sales security self service spam ssl-admin ssladmin
	sslwebmaster staff superuser support sys sysadmin sysop system team tech trust trust-safety trustandsafety undefined unknown
	unsubscribe usenet user username users uucp verified webmaster www-data you
	`,
	// Machines and protocols
	`
	acme amqp autoconfig autodiscover backend backup backups bastion beta broadcasthost broker cache cdn cluster cname db1 db2 debug
	demo dhcp dmz dns dns1 dns2 docker edge email exchange failover file files firewall frontend gateway git gopher grafana health
	healthz host1 http https imap imap4 imaps internal intranet ipv4 ipv6 irc isatap jabber jump k8s kafka ldap live load
	localdomain localhost log logs loopback mail mail1 mail2 mail3 mail4 mail5 master media metrics mirror mobile monitor monitoring
	mqtt mx1 mx2 mysql nagios nameserver nas news-feed nfs nginx nntp node node1 ns0 ns1 ns2 ns3 ns4 ntp oauth oauth2 old openid
	origin pop pop3 pop3s postgres preview primary private prod production prometheus proxy public queue rabbitmq rdp readyz redis
	registry remote replica robots router rsync sandbox secondary secure server server1 server2 sftp sip slave smb smtp smtp1 smtp2
	smtps sql sqlite ssh ssl sso stage staging static status stun sub subdomain svn switch sync syslog telnet test test1 test2
	tester testing tftp time tls tmp traefik turn upload uploads vhost video vnc voip vpn vpn1 vps webdav webdisk websocket wiki
	worker wpad wss www www1 www2 www3 www4 xmpp
	`,
	// Pages and paths of a site
	`
	about account-settings activate activity ads advertise advertising affiliate affiliates alerts analytics android announcement
	announcements answers api apis app apps archive archives article articles asset assets attachment attachments audio auth
	authentication authorization authorize avatar avatars badge banner billing blob blobs blog blogs board bookmark bookmarks brand
	branding browse business buy calendar callback campaign captcha career careers cart catalog categories category changelog
	channel channels chart charts chat checkout clear client clients code codes collection collections comment comments communities
	community company compare compose config configuration confirm confirmation connect console contacts content contest controller
	cookie cookies corp count create credits css customer customers dashboard data deactivate default delete deleted demos deposit
	design designer destroy diff direct direct-message directory discover discovery discuss discussion display dms doc docs
	documentation documents domain domains donate donation download downloads draft drafts edit editor embed empty enterprise error
	errors event events example explore export extensions faq faqs favicon favorite favorites feature featured features feed feeds
	follow followers following font fonts forgot forgot-password form forms forum forums founder free friend friends fund funding
	gallery games general get gift gifts github-pages global graph group groups guide guides handle handles hashtag hidden history
	home homepage hosting howto html icon icons idea ideas identity image images img import inbox index information inquiry install
	integration integrations invitation invitations invite invites invoice invoices ios issue issues item items job join json key
	keys knowledge kyc lab labs language languages learn license licenses like likes link links linux list lists local location
	login logo logos logout maintenance manage management manual map maps me-too media-kit meeting message messages messenger meta
	migrate migration modal modlist more move music mute mutes name names network new newsletter newsletters next notes notification
	notifications notify null oembed offer offers online open order orders organization organizations orgs other overview package
	packages page pages panel partner-program password passwords pay payment payments paypal people permission permissions photo
	photos plan plans platform playground plugin plugins policies policy popular portal portfolio post posts preference preferences
	premium press-kit pricing print privacy-policy pro product products profile profiles project projects promo promotion publish
	purchase put query question questions quote random ranking read readme recent recover recovery redirect refer referral refund
	register registration release releases remove render repost reposts request requests research reset reset-password resource
	resources review reviews rss rule rules safety sale sample save schedule schema script scripts search seed send session sessions
	setting settings setup shadow share shop show sign sign-in sign-out sign-up signin signout signup site sitemap sites smartphone
	sms social software source spec special sponsor sponsors start starter starterpack startpage statistics stats storage store
	stories story stream style styles stylesheet subject submit subscribe subscription subscriptions suggest suggestion suggestions
	survey suspended tag tags takedown task tasks template templates term terms terms-of-service theme themes thread threads ticket
	tickets timeline timelines tool tools top topic topics tos tour track trademark translate translations transparency trending
	trends trial true tutorial tutorials unfollow universe unlock unmute unpublish update updates upgrade url usage user-content
	username-taken vendor verification verify version versions view views vip visitor vote votes wallet warning watch web web1
	webapp webhook webhooks webmail website websites welcome welcome-page well-known widget widgets wifi windows work workshop
	workspace workspaces xml yes you-tube your yourname yourself yourusername zone
	`,
	// Names that mean no one or everything in some language of machines
	`
	all any anyone array boolean class const constructor delete-account false function integer localnet nan nil nobody-at number
	object prototype string toplevel void
	`,
}
