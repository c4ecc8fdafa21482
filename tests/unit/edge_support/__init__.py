"""What the tests of edge and supervisor share: a stub application, model servers, and a supervisor to try things on."""
