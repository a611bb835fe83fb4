"use strict"

/* The library against a switch that says what the test wants. */

const assert = require( "node:assert" )
const fs = require( "node:fs" )
const http = require( "node:http" )
const path = require( "node:path" )
const { test } = require( "node:test" )
const { ProjectControl } = require( "moqswitch-control" )
const { Call } = require( "../lib/call" )

/* A switch that remembers what it was asked, and answers by path. */
async function pair( t, answers = {} ) {
  const asked = []
  const server = http.createServer( ( request, response ) => {
    let text = ""
    request.on( "data", ( part ) => ( text += part ) )
    request.on( "end", () => {
      asked.push( { method: request.method, url: request.url, body: JSON.parse( text ), headers: request.headers } )
      const [ code, json ] = answers[ request.url ] || [ 200, undefined ]
      response.writeHead( code )
      response.end( json && JSON.stringify( json ) )
    } )
  } )
  await new Promise( ( done ) => server.listen( 0, "127.0.0.1", done ) )
  const control = new ProjectControl()
  control.sip = { host: "127.0.0.1", port: server.address().port }
  control.us = { host: "127.0.0.1", port: 0 }
  await new Promise( ( done ) => control.run( done ) )
  const port = control.server.address().port
  const tell = ( method, path, body ) => new Promise( ( done, failed ) => {
    const told = http.request( { host: "127.0.0.1", port, path, method }, ( response ) => {
      let text = ""
      response.on( "data", ( part ) => ( text += part ) )
      response.on( "end", () => done( { code: response.statusCode, text } ) )
    } )
    const text = "string" === typeof body ? body : JSON.stringify( body || {} )
    told.on( "error", failed )
    told.setHeader( "Content-Length", Buffer.byteLength( text ) )
    told.end( text )
  } )
  const close = async () => {
    await new Promise( ( done ) => control.close( done ) )
    server.closeAllConnections()
    await new Promise( ( done ) => server.close( done ) )
  }
  /* What was asked of a path, as soon as it is. */
  const until = async ( url ) => {
    for ( ;; ) {
      const found = asked.find( ( one ) => one.url === url )
      if ( found ) return found
      await new Promise( ( done ) => setImmediate( done ) )
    }
  }
  t.after( close )
  return { control, asked, tell, until }
}

const invited = { callid: "a", domain: "d.example", to: "6", from: "1000", maxforwards: 70, originator: false }

test( "callbacks stack, those of the library stay, those of a call are called once", async ( t ) => {
  const { control, tell } = await pair( t )
  const told = []
  control.onnewcall = function ( call ) {
    assert.strictEqual( this, call )
    told.push( "first" )
    call.onringing = () => told.push( "ringing" )
    call.onringing = () => told.push( "ringing too" )
  }
  control.onnewcall = () => told.push( "second" )
  await tell( "PUT", "/dialog/a", invited )
  await tell( "PUT", "/dialog/a", { ...invited, ring: true } )
  await tell( "PUT", "/dialog/a", { ...invited, ring: true } )
  await tell( "PUT", "/dialog/b", { ...invited, callid: "b" } )
  assert.deepStrictEqual( told, [ "first", "second", "ringing", "ringing too", "first", "second" ] )
  assert.deepStrictEqual( JSON.parse( ( await tell( "GET", "/calls" ) ).text ), [ "a", "b" ] )
  assert.throws( () => ( control.onnewcall = 7 ), TypeError )
} )

test( "a new call takes what it is not told from the one it is for", async ( t ) => {
  const { control, tell, until } = await pair( t, { "/dialog/invite": [ 200, { callid: "b" } ] } )
  let child
  control.onnewcall = ( call ) => ( child = call.newcall( { to: { user: "1003" } } ) )
  await tell( "PUT", "/dialog/a", invited )
  const { body } = await until( "/dialog/invite" )
  assert.deepStrictEqual( body, {
    control: control.url,
    codecs: [ "pcma", "pcmu", "722", "ilbc", "2833" ],
    maxforwards: 69,
    to: { user: "1003", domain: "d.example" },
    from: { user: "1000", domain: "d.example" },
    cid: { number: "1000", name: "1000" },
    parent: "a"
  } )
  // Its state may come ahead of its name.
  const told = await tell( "PUT", "/dialog/b", { callid: "b", originator: true, ring: true } )
  assert.strictEqual( told.code, 200 )
  assert.ok( child.ringing )
  await until( "/dialog/ring" )
} )

test( "a switch that is not there is an error of 500, and the caller hears of it", async ( t ) => {
  const { control, tell } = await pair( t )
  const { port } = control.sip
  control.sip = { host: "127.0.0.1", port: 1 }
  const call = control.newcall( { to: { user: "1003", domain: "d.example" } } )
  const answer = await new Promise( ( done ) => control.sipserver( {}, "/dialog", "GET", done ) )
  assert.strictEqual( answer.code, 500 )
  assert.ok( call.hungup )
  assert.strictEqual( call.info.error.code, 500 )
  control.sip.port = port
  assert.strictEqual( control.calls.size, 0 )
  assert.strictEqual( ( await tell( "PUT", "/dialog/x", { originator: true } ) ).code, 404 )
} )

test( "who is called when the caller has gone is hung up as soon as it has a name", async ( t ) => {
  const { control, tell, until } = await pair( t, { "/dialog/invite": [ 200, { callid: "b" } ] } )
  control.onnewcall = ( call ) => {
    call.newcall( { to: { user: "1003" } } )
    call.hangup()
  }
  await tell( "PUT", "/dialog/a", invited )
  await tell( "PUT", "/dialog/a", { ...invited, hangup: true } )
  for ( ;; ) {
    const { body } = await until( "/dialog/hangup" )
    assert.strictEqual( body.callid, "a" )
    break
  }
  await until( "/dialog/invite" )
} )

test( "without a script a call is for nobody", async ( t ) => {
  const { tell, until } = await pair( t )
  assert.strictEqual( ( await tell( "PUT", "/dialog/a", invited ) ).code, 200 )
  const { body } = await until( "/dialog/hangup" )
  assert.deepStrictEqual( body, { callid: "a", reason: "Not found", code: 404 } )
} )

test( "a script's fault is told, and ends nothing else", async ( t ) => {
  const { control, tell } = await pair( t )
  const { error } = console
  console.error = () => {}
  control.onnewcall = () => {
    throw new Error( "a fault" )
  }
  assert.strictEqual( ( await tell( "PUT", "/dialog/a", invited ) ).code, 500 )
  console.error = error
  assert.strictEqual( control.calls.size, 0 )
} )

test( "nonsense is refused", async ( t ) => {
  const { control, tell } = await pair( t )
  for ( const [ method, path, body, code ] of [
    [ "PUT", "/dialog/a", "{", 400 ],
    [ "PUT", "/dialog/a", "[]", 400 ],
    [ "PUT", "/dialog/a", "7", 400 ],
    [ "PUT", "/%ff", "{}", 400 ],
    [ "GET", "/dialog/a", "", 404 ],
    [ "PUT", "/", "{}", 404 ],
    [ "PUT", "/reg", "{}", 404 ],
    [ "PUT", "/dialog/a", { hangup: true }, 200 ],
    [ "POST", "/invite", "{}", 500 ]
  ] ) {
    assert.strictEqual( ( await tell( method, path, body ) ).code, code, `${method} ${path} ${body}` )
  }
  const long = tell( "PUT", "/dialog/a", "x".repeat( 2 * 1024 * 1024 ) ).then( ( answer ) => answer.code, () => 413 )
  assert.strictEqual( await long, 413 )
  assert.strictEqual( control.calls.size, 0 )
} )

test( "registrations are told in both forms", async ( t ) => {
  const { control, tell } = await pair( t )
  const told = []
  control.onreg = ( reg ) => told.push( [ "on", reg.domain, reg.user ] )
  control.ondereg = ( reg ) => told.push( [ "off", reg.domain, reg.user ] )
  await tell( "PUT", "/reg/d.example/1003", { host: "127.0.0.1", port: 1, user: "1003@d.example" } )
  await tell( "POST", "/reg", { domain: "d.example", user: "1000" } )
  await tell( "DELETE", "/reg/d.example/1003", "" )
  await tell( "DELETE", "/reg", { domain: "d.example", user: "1000" } )
  assert.deepStrictEqual( told, [
    [ "on", "d.example", "1003" ],
    [ "on", "d.example", "1000" ],
    [ "off", "d.example", "1003" ],
    [ "off", "d.example", "1000" ]
  ] )
} )

test( "the key is sent, and gateways and codecs are kept", async ( t ) => {
  const { control, asked } = await pair( t )
  control.key = "k"
  control.gw = { from: { user: "a" } }
  control.gw = { from: { user: "b" } }
  assert.strictEqual( control.gw.from.user, "a" )
  await new Promise( ( done ) => control.directory( "d.example", [], done ) )
  assert.strictEqual( asked[ 0 ].headers.authorization, "Bearer k" )
  assert.deepStrictEqual( [ asked[ 0 ].method, asked[ 0 ].url ], [ "PUT", "/dir/d.example" ] )
} )

test( "POST /invite rings who calls, then the scripts decide", async ( t ) => {
  const { control, tell, until } = await pair( t, { "/dialog/invite": [ 200, { callid: "b" } ] } )
  const made = await tell( "POST", "/invite", { from: "1000", to: "6", domain: "d.example" } )
  assert.deepStrictEqual( JSON.parse( made.text ), { callid: "b" } )
  const { body } = await until( "/dialog/invite" )
  assert.deepStrictEqual( [ body.to.user, body.from.user ], [ "1000", "6" ] )
  const decided = new Promise( ( done ) => ( control.onnewcall = done ) )
  await tell( "PUT", "/dialog/b", { callid: "b", originator: true, answered: true } )
  assert.strictEqual( ( await decided ).destination, "6" )
} )

test( "the manual's example is the one that is tried", () => {
  const read = ( name ) => fs.readFileSync( path.join( __dirname, name ), "utf8" )
  const [ , example ] = read( "../README.md" ).split( "```js\n" )
  assert.strictEqual( example.split( "```" )[ 0 ], read( "example.js" ) )
} )

test( "everything that is typed is there", () => {
  const types = fs.readFileSync( path.join( __dirname, "../index.d.ts" ), "utf8" )
  const members = ( name ) => {
    const [ , body ] = types.split( `  interface ${name} {\n` )
    return [ ...body.split( "\n  }" )[ 0 ].matchAll( /^ {4}(?:readonly |set )?(\w+)[(:]| {4}set (\w+)\(/gm ) ].map( ( match ) => match[ 1 ] || match[ 2 ] )
  }
  const control = new ProjectControl()
  for ( const name of members( "ProjectControl" ) ) assert.ok( name in control, name )
  const call = new Call( control, {} )
  for ( const name of members( "Call" ) ) assert.ok( name in call, name )
  assert.ok( 20 < members( "Call" ).length )
} )
