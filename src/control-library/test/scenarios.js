"use strict"

/* What is dialled says what becomes of the call. */

const control = require( "moqswitch-control" )
const projectqueue = require( "moqswitch-control/queue" )

const users = [ "1000", "1001", "1002", "1003", "1004" ]
control.directory( "bling.babblevoice.com", users.map( ( username ) => ( { username, secret: "s" } ) ) )

const say = ( ...words ) => console.log( words.join( " " ) )

control.onreg = ( registration ) => say( "registered", registration.user )
control.ondereg = ( registration ) => say( "gone", registration.user )
control.onringing = ( call ) => say( "ringing", call.user )
control.onanswer = ( call ) => say( "answered", call.user )
control.onhangup = ( call ) => say( "ended", call.user, call.info.error.code )

const queue = projectqueue.find( "support" )
queue.retry = 100
queue.onpositionchange = ( call ) => say( "place", call.user, call.metadata.queue.position )

control.onnewcall = ( call ) => {
  const user = call.destination
  if ( user.startsWith( "100" ) ) return call.newcall( { to: { user } } )
  const scenarios = {
    answer: () => {
      call.onanswer = function () {
        say( "mine", this === call, call.answered, call.other )
        // Set after the fact.
        call.onanswer = () => say( "late" )
      }
      call.ring( "somealertinfo" )
      call.answer()
    },
    busy: () => call.hangup( "busy" ),
    busytoo: () => call.busy(),
    nothing: () => call.notfound(),
    pay: () => call.paymentrequired(),
    declined: () => call.hangup( { reason: "Decline", code: 603 } ),
    group: () => call.newcall( [ { to: { user: "1003" } }, { to: { user: "1004" } } ] ),
    queue: () => queue.queue( call ),
    agents: () => {
      queue.agents = [ { user: "1003" } ]
      call.busy()
    },
    play: () => say( "play", call.play( { files: [] } ).code, call.play( {} ).message ),
    gateway: () => {
      control.gw = { from: { user: "trunk" }, to: { domain: "city" } }
      call.newcall( { forward: true, to: { user: "0301234" } } )
    },
    fault: () => {
      throw new Error( "a script's fault" )
    }
  }
  if ( scenarios[ user ] ) scenarios[ user ]()
}

control.run()
