const projectcontrol = require( "moqswitch-control" )

projectcontrol.directory( "bling.babblevoice.com", [ { "username": "1003", "secret": "1123654789" } ] )

projectcontrol.codecs = [ "722", "pcma", "pcmu", "ilbc", "2833" ]

projectcontrol.onnewcall = ( call ) =>
{
  console.log( "new call" )

  call.onhangup = () =>
  {
    console.log( "hung up" )
  }

  /* Indicate ringing to the caller - not needed as the second leg ringing signal will be passed back */
  call.ring()

  /* Make a call */
  if( "3" == call.destination )
  {
    call.newcall( { to: { user: "1003" } } )
  }
}

projectcontrol.run()
