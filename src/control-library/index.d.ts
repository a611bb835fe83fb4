/** Call control for moqswitch. */

declare const projectcontrol: projectcontrol.ProjectControl & {
  ProjectControl: new () => projectcontrol.ProjectControl
}

declare namespace projectcontrol {
  interface Place {
    host: string
    port: number
  }

  /** An answer of the switch. Without a connection the code is 500. */
  interface Answer {
    code: number
    message: string
    json?: any
  }

  type Reply = ( answer: Answer ) => void

  interface User {
    username: string
    secret: string
  }

  /** A user of a domain. */
  interface Party {
    user: string
    domain?: string
    authsecret?: string
  }

  /** What the other side is shown. */
  interface CallerId {
    number?: string
    name?: string
    private?: boolean
  }

  /** Somebody is to be called. */
  interface NewCall {
    to: Party
    /** Default: who this is for. */
    from?: Party
    /** Default: one less than the call has that this is for, otherwise 70. */
    maxforwards?: number
    cid?: CallerId
    /** By the gateway: `projectcontrol.gw`. */
    forward?: boolean
    codecs?: string[]
    /** Seconds. */
    timeout?: number
  }

  interface Gateway {
    from?: Party
    to: { domain: string }
    cid?: CallerId
    codecs?: string[]
  }

  interface HangupReason {
    reason?: string
    /** A status of SIP. */
    code?: number
  }

  /** The state of a dialog, as the switch tells it. */
  interface CallInfo {
    callid?: string
    domain?: string
    to?: string
    from?: string
    contact?: string
    maxforwards?: number
    refer?: { to: string, replaces?: string }
    authenticated?: boolean
    ring?: boolean
    answered?: boolean
    hold?: boolean
    originator?: boolean
    hangup?: boolean
    error: { code: number, status: string }
    remote?: Place
    sdp?: { them: object, us: object }
    /** Where its media is, and a token to hear it by. */
    media?: { url: string, path: string, token: string, certificateHash?: string }
    /** Seconds since 1970; 0: not yet. */
    epochs: { start?: number, ring?: number, answer?: number, end?: number }
  }

  interface Metadata {
    history: { when: number, what: string }[]
    family: { parent?: Call, children: Call[] }
    queue?: { state: "waiting" | "abandoned" | "talking", position: number }
  }

  type CallCallback = ( this: Call, call: Call ) => void

  /** What is to be played: not supported yet. */
  interface Soup {
    loop?: boolean | number
    files: object[]
  }

  /** One party of a call. */
  interface Call {
    info: CallInfo
    metadata: Metadata
    readonly ringing: boolean
    readonly answered: boolean
    readonly hungup: boolean
    readonly hold: boolean
    /** What was dialled, or where a transfer leads. */
    readonly destination: string | undefined
    /** Was it begun for this program? */
    readonly originator: boolean
    /** Who it is. */
    readonly user: string | undefined
    readonly haserror: boolean
    readonly other: Call | undefined
    readonly others: Call[]
    readonly history: Metadata[ "history" ]
    moh: Soup | undefined

    /** Each of these adds a callback; each is called once. */
    set onnewcall( callback: CallCallback )
    set onringing( callback: CallCallback )
    set onanswer( callback: CallCallback )
    set onhold( callback: CallCallback )
    set onoffhold( callback: CallCallback )
    set onhangup( callback: CallCallback )
    set onreporting( callback: CallCallback )

    ring( alertinfo?: string, callback?: Reply ): void
    answer( options?: { codecs?: string[] }, callback?: Reply ): void
    answer( callback: Reply ): void
    hangup( reason?: "busy" | string | HangupReason, callback?: Reply ): void
    busy(): void
    notfound(): void
    paymentrequired(): void
    newcall( request: NewCall, callback?: ( answer: Answer, call: Call ) => void ): Call
    /** A group: the first to answer is it. */
    newcall( requests: NewCall[], callback?: ( answer: Answer, call: Call ) => void ): Call[]
    mix( callback?: Reply ): void
    mix( other: Call, callback?: Reply ): void
    unmix( callback?: Reply ): void
    link( other: Call ): void
    unlink(): void
    /** Answers 501: not supported yet. */
    play( soup: Soup, callback?: Reply ): Answer
  }

  interface Registration {
    domain: string
    user: string
    host?: string
    port?: number
    agent?: string
  }

  interface ProjectControl {
    /** The switch's signalling. Default: 127.0.0.1:9000. */
    sip: Place
    /** Where this program listens for the switch. Default: 127.0.0.1:9001. */
    us: Place
    /** The switch's channels. Default: 127.0.0.1:9002. */
    rtp: Place
    /** By which the switch knows this program. */
    key: string | undefined
    codecs: string[]
    /** An assignment adds one; the first counts. */
    gw: Gateway | undefined
    moh: Soup | undefined
    /** Calls that there are, by their ids. */
    readonly calls: Map<string, Call>

    /** Each of these adds a callback; each is called every time. */
    set onnewcall( callback: CallCallback )
    set onringing( callback: CallCallback )
    set onanswer( callback: CallCallback )
    set onhold( callback: CallCallback )
    set onoffhold( callback: CallCallback )
    set onhangup( callback: CallCallback )
    set onreporting( callback: CallCallback )
    set onreg( callback: ( registration: Registration ) => void )
    set ondereg( callback: ( registration: Registration ) => void )

    directory( domain: string, users: User[], callback?: Reply ): void
    newcall( request: NewCall, callback?: ( answer: Answer, call: Call ) => void ): Call
    sipserver( request: object, path: string, method?: string, callback?: Reply ): void
    rtpserver( request: object, path: string, method?: string, callback?: Reply ): void
    run( callback?: () => void ): import( "http" ).Server
    close( callback?: () => void ): void
  }
}

export = projectcontrol
