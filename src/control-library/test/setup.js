"use strict"

/* Loaded ahead of a script that tests run: where the switch is, and where this program is. What it waits for is printed. */

const control = require( "moqswitch-control" )

const [ host, port ] = process.env.SWITCH.split( ":" )
control.sip = { host, port: Number( port ) }
control.us = { host: process.env.US, port: 9001 }

const { directory, run } = control
control.directory = ( domain, users ) =>
  directory.call( control, domain, users, ( answer ) => console.log( `directory ${answer.code}` ) )
control.run = ( callback ) => run.call( control, () => {
  console.log( "listening" )
  if ( callback ) callback()
} )

/* Whoever started it is gone. */
process.stdin.on( "end", () => process.exit() ).resume()
