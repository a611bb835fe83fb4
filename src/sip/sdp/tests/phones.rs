//! Descriptions in the manner of those who send them.

/// Cisco 7960 and later: the address stands in the section (captagent#4).
pub(super) const CISCO: &str = "v=0\r\no=Cisco-SIPUA 7221 0 IN IP4 10.10.10.10\r\ns=SIP Call\r\nt=0 0\r\n\
    m=audio 20096 RTP/AVP 0 8 18 9 116 101\r\nc=IN IP4 10.10.10.10\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:9 G722/8000\r\na=rtpmap:116 iLBC/8000\r\n\
    a=fmtp:116 mode=20\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";

/// A Cisco gateway that shows a video stream that is not there (rtpengine#2122).
pub(super) const CISCO_GATEWAY: &str = "v=0\r\no=CiscoSystemsSIP-GW-UserAgent 1955 1345 IN IP4 10.0.0.4\r\ns=SIP Call\r\n\
    c=IN IP4 10.0.0.4\r\nt=0 0\r\nm=audio 43712 RTP/AVP 8 101\r\nc=IN IP4 10.0.0.4\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\nm=video 0 RTP/AVP 255\r\nc=IN IP4 10.0.0.4\r\n";

/// Yealink that would like SRTP, and takes what there is.
pub(super) const YEALINK: &str = "v=0\r\no=- 20012 20012 IN IP4 192.168.1.57\r\ns=SDP data\r\nc=IN IP4 192.168.1.57\r\n\
    t=0 0\r\nm=audio 11792 RTP/SAVP 9 0 8 18 101\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:NjZhMDc0ZDJkZTYwODE2MTc2NGJlMzI5MGE0Njdm\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:YTg4ZTY2ZjY0NzZlNmQ1MmYxZDkzYjM3NTQxMjdm\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=no\r\na=ptime:20\r\na=sendrecv\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
    m=audio 11792 RTP/AVP 9 0 8 18 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=ptime:20\r\na=sendrecv\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\n";

/// Genesys: events by another number than most, and RTCP told.
pub(super) const GENESYS: &str = "v=0\r\no=Genesys 1 1 IN IP4 52.129.96.10\r\ns=Genesys\r\nc=IN IP4 52.129.96.10\r\n\
    t=0 0\r\nm=audio 16492 RTP/AVP 107 0 8 96\r\na=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=1;cbr=1\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n\
    a=rtcp:16493 IN IP4 52.129.96.10\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n";

/// Twilio, towards a trunk.
pub(super) const TWILIO: &str = "v=0\r\no=root 1943278142 1943278142 IN IP4 168.86.150.12\r\ns=Twilio Media Gateway\r\n\
    c=IN IP4 168.86.150.12\r\nt=0 0\r\nm=audio 14082 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:20\r\na=sendrecv\r\n";

/// Asterisk (re#86), with video.
pub(super) const ASTERISK: &str = "v=0\r\no=- 185880834 185880834 IN IP4 192.168.0.150\r\ns=Asterisk\r\n\
    c=IN IP4 192.168.0.150\r\nt=0 0\r\nm=audio 16104 RTP/AVP 0 8 3 9 18 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:3 GSM/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\n\
    a=sendrecv\r\nm=video 16024 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\na=sendrecv\r\n";

/// linphone: AVPF, telephone events of three clocks, session name in Latin-1 aside.
pub(super) const LINPHONE: &str = "v=0\r\no=alice 3242 2045 IN IP4 192.168.1.20\r\ns=Talk\r\nc=IN IP4 192.168.1.20\r\n\
    b=AS:380\r\nt=0 0\r\na=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n\
    m=audio 7078 RTP/AVPF 96 97 98 0 8 101 99 100\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
    a=rtpmap:97 speex/16000\r\na=fmtp:97 vbr=on\r\na=rtpmap:98 speex/8000\r\na=fmtp:98 vbr=on\r\n\
    a=rtpmap:101 telephone-event/48000\r\na=rtpmap:99 telephone-event/16000\r\na=rtpmap:100 telephone-event/8000\r\n\
    a=rtcp-fb:* trr-int 5000\r\na=rtcp-fb:* ccm tmmbr\r\n";

/// baresip: RTCP with the stream, and attributes before the direction.
pub(super) const BARESIP: &str = "v=0\r\no=- 2863325213 519350340 IN IP4 10.0.1.8\r\ns=-\r\nc=IN IP4 10.0.1.8\r\nt=0 0\r\n\
    a=tool:baresip 1.0.0\r\nm=audio 17442 RTP/AVP 96 9 0 8 97\r\nb=AS:125\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 stereo=1;sprop-stereo=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\na=rtcp:17443\r\na=rtcp-mux\r\na=sendrecv\r\na=label:1\r\n\
    a=rtcp-rsize\r\na=ssrc:4120941070 cname:sip:bob@example.com\r\na=ptime:20\r\n";

/// A telephone by IPv6.
pub(super) const SIX: &str = "v=0\r\no=- 1 1 IN IP6 2001:db8::7\r\ns=-\r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\n\
    m=audio 5004 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// PhonerLite (livekit/sip#95).
pub(super) const PHONERLITE: &str = "v=0\r\no=- 3094585973 1 IN IP4 10.1.15.11\r\ns=PhonerLite/3.24\r\n\
    c=IN IP4 10.1.15.11\r\nt=0 0\r\nm=audio 42236 RTP/AVP 8 0 3 9 18 101\r\na=ssrc:1406527973\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:3 GSM/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=yes\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\na=rtcp:42237\r\n";

/// DIDWW: audio and fax in one offer (freeswitch#1297).
pub(super) const DIDWW: &str = "v=0\r\no=- 1869739744 1869739744 IN IP4 46.19.209.78\r\ns=-\r\nt=0 0\r\n\
    m=audio 13960 RTP/AVP 0 8 18 4 101\r\nc=IN IP4 46.19.209.78\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:4 G723/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=sendrecv\r\na=ptime:20\r\na=direction:both\r\nm=image 13962 udptl t38\r\nc=IN IP4 46.19.209.78\r\na=sendrecv\r\n\
    a=T38FaxMaxDatagram:612\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n\
    a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=direction:both\r\n";

/// A browser: none of our business, but not a reason to fall over.
pub(super) const BROWSER: &str = "v=0\r\no=- 5916726231183296689 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    a=msid-semantic: WMS x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Wg73\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
    a=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
    a=rtpmap:126 telephone-event/8000\r\n";

/// All of them.
pub(super) const ALL: [&str; 12] = [
    CISCO,
    CISCO_GATEWAY,
    YEALINK,
    GENESYS,
    TWILIO,
    ASTERISK,
    LINPHONE,
    BARESIP,
    SIX,
    PHONERLITE,
    DIDWW,
    BROWSER,
];

/// A description of one section of audio from 203.0.113.5, with what else is said in it.
pub(super) fn of(media: &str, attributes: &[&str]) -> String {
    let mut text =
        format!("v=0\r\no=- 7 7 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\nm=audio {media}\r\n");
    for attribute in attributes {
        text.push_str("a=");
        text.push_str(attribute);
        text.push_str("\r\n");
    }
    text
}
