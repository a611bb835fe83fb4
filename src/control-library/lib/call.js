"use strict"

const { Callbacks, stacked } = require( "./callbacks" )

const CALLBACKS = [
  "onnewcall",
  "onringing",
  "onanswer",
  "onhold",
  "onoffhold",
  "onhangup",
  "onreporting"
]

/* Of several calls that failed, the caller is told the first of these that one of them has. */
const WORST_LAST = [ 486, 603, 480, 408, 404 ]

/* Entries of a call's history. The oldest goes. */
const HISTORY_MAX = 1000

const CANCELLED = { reason: "Request Terminated", code: 487 }

const NOT_SUPPORTED = { code: 501, message: "Not supported yet" }

const ignore = () => {}

/* One party of a call: a dialog of the switch. */
class Call {
  constructor( control, info ) {
    this.control = control
    this.callbacks = new Callbacks( CALLBACKS )
    this.info = Object.assign( { error: { code: 0, status: "" }, epochs: {} }, info )
    this.metadata = { history: [], family: { children: [] } }
    this.isEnding = false
    this.wanted = []
    this.note( this.info.callid ? "new" : "calling" )
  }

  get ringing() {
    return true === this.info.ring
  }

  get answered() {
    return true === this.info.answered
  }

  get hungup() {
    return true === this.info.hangup
  }

  get hold() {
    return true === this.info.hold
  }

  /* Was it begun by the switch, for this program? */
  get originator() {
    return true === this.info.originator
  }

  /* What was dialled, or where a transfer leads. */
  get destination() {
    return this.info.refer && this.info.refer.to ? this.info.refer.to : this.info.to
  }

  get haserror() {
    return 0 !== this.info.error.code
  }

  /* Who it is. */
  get user() {
    return this.originator ? this.info.to : this.info.from
  }

  /* Those that this one talks to, or is to. */
  get others() {
    const { parent, children } = this.metadata.family
    return parent ? [ parent, ...children ] : [ ...children ]
  }

  get other() {
    const others = this.others
    return others.find( ( other ) => other.answered ) || others[ 0 ]
  }

  get history() {
    return this.metadata.history
  }

  get moh() {
    return undefined === this.music ? this.control.moh : this.music
  }

  set moh( soup ) {
    this.music = soup
  }

  note( what ) {
    const { history } = this.metadata
    if ( HISTORY_MAX <= history.length ) history.shift()
    history.push( { when: Date.now(), what } )
  }

  /* Tells the caller that it rings. */
  ring( alertinfo, callback = ignore ) {
    if ( "function" === typeof alertinfo ) [ alertinfo, callback ] = [ undefined, alertinfo ]
    this.post( "ring", undefined === alertinfo ? {} : { alertinfo }, callback )
  }

  /* Answers the caller. */
  answer( options, callback = ignore ) {
    if ( "function" === typeof options ) callback = options
    if ( this.answered ) return callback( { code: 200, message: "Ok", json: {} } )
    this.post( "answer", {}, callback )
  }

  /* Ends it: `"busy"`, a reason, or `{ reason, code }`. */
  hangup( reason, callback = ignore ) {
    if ( "function" === typeof reason ) [ reason, callback ] = [ undefined, reason ]
    if ( this.hungup || this.isEnding ) return
    if ( "busy" === reason ) reason = { reason: "Busy here", code: 486 }
    if ( "string" === typeof reason ) reason = { reason }
    // Who was called and does not matter any more is cancelled: its phone shows a call that was missed.
    if ( undefined === reason && this.originator && !this.answered ) reason = CANCELLED
    this.isEnding = true
    // Whoever is still being called has no name yet: it ends as soon as it has one.
    this.ending = reason || {}
    if ( this.info.callid ) this.post( "hangup", this.ending, callback )
  }

  busy() {
    this.hangup( { reason: "Busy here", code: 486 } )
  }

  notfound() {
    this.hangup( { reason: "Not found", code: 404 } )
  }

  paymentrequired() {
    this.hangup( { reason: "Payment required", code: 402 } )
  }

  /**
   * Calls somebody for this one. When they answer, so does this one, and both are mixed. An array is a group: the first
   * to answer is it, the others are hung up.
   */
  newcall( request, callback = ignore ) {
    if ( !Array.isArray( request ) ) return this.invite( request, [], callback )
    const group = []
    for ( const one of request ) group.push( this.invite( one, group, callback ) )
    return group
  }

  invite( request, group, callback ) {
    const child = this.control.invite( this.asked( request ), callback )
    child.group = group
    child.metadata.family.parent = this
    this.metadata.family.children.push( child )
    this.note( `newcall ${child.destination}` )
    return child
  }

  /* What is not said of a new call comes from this one. */
  asked( request ) {
    const { domain } = this.info
    const from = this.user
    const maxforwards = Number.isInteger( this.info.maxforwards ) ? this.info.maxforwards - 1 : 70
    const gateway = request.forward ? this.control.gw : undefined
    const asked = Object.assign( { maxforwards }, request, {
      from: Object.assign( { user: from || "", domain }, gateway && gateway.from, request.from ),
      to: Object.assign( { domain }, gateway && gateway.to, request.to )
    } )
    asked.cid = Object.assign( { number: from || "", name: from || "" }, gateway && gateway.cid, request.cid )
    if ( gateway && gateway.codecs && !asked.codecs ) asked.codecs = gateway.codecs
    if ( this.info.callid ) asked.parent = this.info.callid
    return asked
  }

  /* Makes it hear the other party, or a party that is named, and be heard. */
  mix( other, callback = ignore ) {
    if ( "function" === typeof other ) [ other, callback ] = [ undefined, other ]
    other = other || this.other
    if ( !other ) return callback( { code: 404, message: "Nobody is there" } )
    this.post( "mix", { with: other.info.callid }, callback )
  }

  /* Makes it hear nobody. */
  unmix( callback = ignore ) {
    this.post( "unmix", {}, callback )
  }

  /* The switch has no player yet. */
  play( soup, callback = ignore ) {
    this.note( "play: not supported yet" )
    callback( { ...NOT_SUPPORTED } )
    return { ...NOT_SUPPORTED }
  }

  /* Makes another one's fate this one's. */
  link( other ) {
    if ( other === this || this.others.includes( other ) ) return
    this.metadata.family.children.push( other )
    other.metadata.family.parent = this
  }

  /* Whatever becomes of the others is nothing to it any more. */
  unlink() {
    const { parent, children } = this.metadata.family
    if ( parent ) remove( parent.metadata.family.children, this )
    for ( const child of children ) child.metadata.family.parent = undefined
    this.metadata.family = { children: [] }
  }

  post( action, more, callback ) {
    if ( !this.info.callid ) return callback( { code: 404, message: "It has not begun" } )
    const { callid } = this.info
    this.note( action )
    // One after the other, so that the switch takes them in the order in which they were said.
    this.wanted.push( ( done ) => {
      this.control.sipserver( Object.assign( { callid }, more ), `/dialog/${action}`, "POST", ( answer ) => {
        done()
        callback( answer )
      } )
    } )
    if ( 1 === this.wanted.length ) this.next()
  }

  next() {
    if ( 0 === this.wanted.length ) return
    this.wanted[ 0 ]( () => {
      this.wanted.shift()
      this.next()
    } )
  }

  /* The switch has a name for it: what was wanted meanwhile is done. */
  begun( callid ) {
    this.info.callid = callid
    if ( this.isEnding ) this.post( "hangup", this.ending, ignore )
  }

  /* What the switch says of it. */
  update( info ) {
    if ( this.hungup ) return
    const old = this.info
    const refer = info.refer
    // Where a transfer leads stays known when the switch has said it.
    this.info = Object.assign( {}, old, info, { refer: old.refer } )
    if ( !old.ring && this.ringing ) this.rang()
    if ( !old.answered && this.answered ) this.wasAnswered()
    if ( Boolean( old.hold ) !== this.hold ) this.tell( this.hold ? "onhold" : "onoffhold" )
    if ( refer ) this.referred( refer )
    if ( this.hungup ) this.ended()
  }

  tell( name ) {
    this.note( name.slice( 2 ) )
    this.callbacks.once( name, this )
    this.control.callbacks.fire( name, this )
  }

  rang() {
    const { parent } = this.metadata.family
    if ( parent && !parent.answered && !parent.ringing ) parent.ring()
    this.tell( "onringing" )
  }

  wasAnswered() {
    const { parent } = this.metadata.family
    if ( this.group ) {
      const isLate = this.group.some( ( other ) => other !== this && other.isWinner )
      if ( isLate ) return this.hangup()
      this.isWinner = true
      for ( const other of this.group ) if ( other !== this ) other.hangup()
    }
    this.tell( "onanswer" )
    if ( !parent || parent.hungup || !this.originator || this.isEnding ) return
    parent.answer( ( answer ) => {
      if ( 200 === answer.code ) return this.mix( parent )
      this.hangup()
    } )
  }

  ended() {
    const { parent, children } = this.metadata.family
    const family = [ ...children ]
    this.unlink()
    for ( const child of family ) child.hangup()
    if ( parent && !parent.hungup ) {
      if ( this.haserror ) parent.failures = [ ...( parent.failures || [] ), this.info.error ]
      const isLast = 0 === parent.metadata.family.children.length && !parent.metadata.family.parent
      if ( isLast && !parent.waits ) parent.hangup( parent.answered ? undefined : worst( parent.failures ) )
    }
    try {
      this.tell( "onhangup" )
      this.tell( "onreporting" )
    } finally {
      this.control.forget( this )
    }
  }

  /* Its device wants the others to talk to somebody else. */
  referred( refer ) {
    const replaced = refer.replaces ? this.control.calls.get( refer.replaces ) : undefined
    const other = this.other
    this.note( `refer ${refer.to}` )
    if ( !other ) return this.post( "notify", { code: 404 }, ignore )
    this.unlink()
    const third = replaced && replaced.other
    if ( replaced ) replaced.unlink()
    if ( third ) {
      // Four legs: the two that are left talk to each other. Their device cannot be with both at once.
      other.link( third )
      this.unmix( () => replaced.unmix( () => other.mix( third, ( answer ) => {
        if ( 200 === answer.code ) return this.conclude( replaced )
        other.unlink()
        this.link( other )
        replaced.link( third )
        this.mix( other )
        replaced.mix( third )
        this.post( "notify", { code: 480 }, ignore )
      } ) ) )
      return
    }
    // Blind, or in the place of one that talks to the program itself: the other one calls anew.
    other.info.refer = { to: refer.to }
    other.failures = []
    this.conclude( replaced )
    this.control.decide( other )
  }

  conclude( replaced ) {
    this.post( "notify", {}, ignore )
    if ( replaced ) replaced.hangup()
  }
}

/* Set after the fact, these are called all the same. */
stacked( Call, CALLBACKS, function ( name ) {
  const isSo = { onringing: this.ringing, onanswer: this.answered, onhangup: this.hungup }[ name ]
  if ( !isSo ) return
  setImmediate( () => {
    try {
      this.callbacks.once( name, this )
    } catch ( error ) {
      console.error( error )
      this.hangup( { reason: "Temporarily unavailable", code: 480 } )
    }
  } )
} )

function remove( list, one ) {
  const at = list.indexOf( one )
  if ( 0 <= at ) list.splice( at, 1 )
}

function worst( failures = [] ) {
  const code = WORST_LAST.find( ( code ) => failures.some( ( failure ) => failure.code === code ) )
  const failure = failures.find( ( failure ) => failure.code === code ) || failures[ 0 ]
  return failure ? { reason: failure.status, code: failure.code } : undefined
}

module.exports = { Call, CALLBACKS }
