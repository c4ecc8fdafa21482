"""nginx's files and certificates: written from a plan that is handed in, and tested before anything uses them.

The edge ends TLS, carries scoring to the model servers, and hands the rest to the application byte for byte. This
package knows neither the database nor a request, and starts no lasting process: the supervisor runs nginx.
"""
