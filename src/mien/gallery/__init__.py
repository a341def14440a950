"""Galleries: who is known, and who is it?"""
