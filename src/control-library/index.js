"use strict"

const { Call } = require( "./lib/call" )
const { Callbacks, stacked } = require( "./lib/callbacks" )
const client = require( "./lib/client" )
const server = require( "./lib/server" )

const CALLBACKS = [
  "onnewcall",
  "onringing",
  "onanswer",
  "onhold",
  "onoffhold",
  "onhangup",
  "onreg",
  "ondereg",
  "onreporting"
]

const ignore = () => {}

/* Call control: this program decides what becomes of the calls of its domains. */
class ProjectControl {
  constructor() {
    this.callbacks = new Callbacks( CALLBACKS )
    this.calls = new Map()
    this.codecs = [ "pcma", "pcmu", "722", "ilbc", "2833" ]
    this.gateways = []
    this.moh = undefined
    this.sip = { host: "127.0.0.1", port: 9000 }
    this.us = { host: "127.0.0.1", port: 9001 }
    this.rtp = { host: "127.0.0.1", port: 9002 }
    /* By which the switch knows this program; without one it has to be on the switch's host. */
    this.key = undefined
    this.pending = new Set()
    /* What the switch said of calls that may be among those. */
    this.waiting = []
  }

  /* The first gateway. An assignment adds one. */
  get gw() {
    return this.gateways[ 0 ]
  }

  set gw( gateway ) {
    this.gateways.push( gateway )
  }

  get url() {
    return `http://${this.us.host}:${this.us.port}`
  }

  /* Tells the switch of a domain: its users, and that this program decides on its calls. */
  directory( domain, users, callback = complain( "directory" ) ) {
    this.sipserver( { control: this.url, users }, `/dir/${encodeURIComponent( domain )}`, "PUT", callback )
  }

  /* Calls somebody for nobody. */
  newcall( request, callback = ignore ) {
    return this.invite( Object.assign( { maxforwards: 70 }, request, { from: request.from || { user: "" } } ), callback )
  }

  /* One request to the signalling of the switch. */
  sipserver( request, path, method = "PUT", callback = ignore ) {
    client.request( this.sip, path, method, request, this.key, callback )
  }

  /* One request to the channels of the switch. */
  rtpserver( request, path, method = "PUT", callback = ignore ) {
    client.request( this.rtp, path, method, request, this.key, callback )
  }

  /* Listens for the switch, and keeps the process alive. `callback` is called when it listens. */
  run( callback = ignore ) {
    this.server = server.create( this )
    this.server.listen( this.us.port, this.us.host, callback )
    return this.server
  }

  /* Listens no more. Calls are left as they are. */
  close( callback = ignore ) {
    if ( !this.server ) return callback()
    this.server.close( callback )
    this.server.closeAllConnections()
    this.server = undefined
  }

  /* A call that the switch is asked for. It has no id before the switch has said so. */
  invite( request, callback ) {
    const to = request.to || {}
    const domain = to.domain || ( request.from && request.from.domain )
    const call = new Call( this, { to: to.user, from: request.from && request.from.user, domain, originator: true } )
    const asked = Object.assign( { control: this.url, codecs: this.codecs }, request )
    this.pending.add( call )
    this.sipserver( asked, "/dialog/invite", "POST", ( answer ) => {
      this.pending.delete( call )
      const callid = 200 === answer.code && answer.json ? answer.json.callid : undefined
      try {
        if ( callid ) {
          this.calls.set( callid, call )
          call.begun( callid )
        } else {
          call.update( { hangup: true, error: { code: answer.code, status: answer.message } } )
        }
        callback( answer, call )
      } catch ( error ) {
        failed( call, error )
      } finally {
        // What the switch has said of it meanwhile, whatever the scripts do.
        for ( const wake of this.waiting.splice( 0 ) ) wake()
      }
    } )
    return call
  }

  forget( call ) {
    this.calls.delete( call.info.callid )
  }

  /* A call, or one that is transferred, is for the scripts. */
  decide( call ) {
    if ( !this.callbacks.has( "onnewcall" ) && !call.callbacks.has( "onnewcall" ) ) return call.notfound()
    this.callbacks.fire( "onnewcall", call )
    call.callbacks.once( "onnewcall", call )
  }

  /* `asked`: calls of which it may be one. Those that are asked for later are not it. */
  takeDialog( callid, info, done, asked = [ ...this.pending ] ) {
    const known = this.calls.get( callid )
    if ( known ) {
      known.update( info )
      return done( 200 )
    }
    if ( info.originator && asked.some( ( call ) => this.pending.has( call ) ) ) {
      // It may be one whose id is still on its way.
      this.waiting.push( () => {
        try {
          this.takeDialog( callid, info, done, asked )
        } catch ( error ) {
          console.error( error )
          done( 500 )
        }
      } )
      return
    }
    if ( info.hangup ) return done( 200 )
    if ( info.originator ) return done( 404 )
    const call = new Call( this, Object.assign( {}, info, { callid } ) )
    this.calls.set( callid, call )
    try {
      this.decide( call )
    } catch ( error ) {
      this.calls.delete( callid )
      throw error
    }
    done( 200 )
  }

  /* Rings who calls first. When they answer, the scripts decide as if they had dialled. */
  takeInvite( request, done ) {
    const to = "string" === typeof request.to ? { user: request.to } : request.to
    const from = "string" === typeof request.from ? { user: request.from } : request.from
    if ( !to || !from || !to.user || !from.user ) return done( 500 )
    const domain = from.domain || request.domain || to.domain
    const asked = { to: { user: from.user, domain }, from: { user: to.user, domain }, maxforwards: request.maxforwards }
    const call = this.invite( asked, ( answer ) => {
      done( answer.code, 200 === answer.code ? { callid: answer.json.callid } : undefined )
    } )
    call.onanswer = () => {
      call.info.from = from.user
      call.info.refer = { to: to.user }
      this.decide( call )
    }
  }

  takeRegistration( isOn, registration, done ) {
    if ( !registration.domain || !registration.user ) return done( 404 )
    // The switch says `user@domain` as well.
    registration.user = String( registration.user ).split( "@" )[ 0 ]
    this.callbacks.fire( isOn ? "onreg" : "ondereg", registration )
    done( 200 )
  }
}

stacked( ProjectControl, CALLBACKS )

/* A script's fault ends its call, and nothing else. */
function failed( call, error ) {
  console.error( error )
  call.hangup( { reason: "Temporarily unavailable", code: 480 } )
}

function complain( what ) {
  return ( answer ) => {
    if ( 200 !== answer.code && 201 !== answer.code ) console.error( `${what}: ${answer.code} ${answer.message}` )
  }
}

module.exports = new ProjectControl()
module.exports.ProjectControl = ProjectControl
